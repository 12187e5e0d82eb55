// SPDX-License-Identifier: Apache-2.0
// Behaviour of the ECP5's multiplier as Yosys emits it (no registers, no cascade), or as fpga/register_packing.py leaves
// it: registers of both operands (clock enable CE0) and of the product (CE1). Else the build fails.
//
// SPATTEN_RANDOM_STATE: the registers begin with random bits.
module MULT18X18D (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, CE1, RST0,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15,
        P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    parameter REG_INPUTA_CLK = "NONE";
    parameter REG_INPUTA_CE = "CE0";
    parameter REG_INPUTB_CLK = "NONE";
    parameter REG_INPUTB_CE = "CE0";
    parameter REG_INPUTC_CLK = "NONE";
    parameter REG_PIPELINE_CLK = "NONE";
    parameter REG_OUTPUT_CLK = "NONE";
    parameter REG_OUTPUT_CE = "CE0";
    parameter MULT_BYPASS = "DISABLED";
    parameter SOURCEB_MODE = "B_SHIFT";

    localparam PLAIN = REG_INPUTA_CLK == "NONE" && REG_INPUTB_CLK == "NONE" && REG_OUTPUT_CLK == "NONE";
    localparam REGISTERED = REG_INPUTA_CLK == "CLK0" && REG_INPUTB_CLK == "CLK0" && REG_OUTPUT_CLK == "CLK0" &&
        REG_INPUTA_CE == "CE0" && REG_INPUTB_CE == "CE0" && REG_OUTPUT_CE == "CE1";
    generate
        if (!(PLAIN || REGISTERED) || REG_INPUTC_CLK != "NONE" || REG_PIPELINE_CLK != "NONE" ||
            MULT_BYPASS != "DISABLED" || SOURCEB_MODE != "B_SHIFT")
            $error("MULT18X18D: these registers, bypass and cascade have no model");
    endgenerate

    wire [17:0] a_in = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire [17:0] b_in = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    reg [17:0] a_register, b_register;
    reg [35:0] p_register;
    wire [17:0] a = REGISTERED ? a_register : a_in;
    wire [17:0] b = REGISTERED ? b_register : b_in;
    // The bit above each operand is its sign, so that one signed product serves all four cases.
    wire signed [18:0] wide_a = {SIGNEDA & a[17], a};
    wire signed [18:0] wide_b = {SIGNEDB & b[17], b};
    wire signed [37:0] product = wide_a * wide_b;
    generate
        if (REGISTERED) begin
`ifdef SPATTEN_RANDOM_STATE
            initial begin
                a_register = $urandom;
                b_register = $urandom;
                p_register = {$urandom, $urandom};
            end
`else
            initial begin
                a_register = 0;
                b_register = 0;
                p_register = 0;
            end
`endif
            always @(posedge CLK0) begin
                if (CE0) a_register <= a_in;
                if (CE0) b_register <= b_in;
                if (CE1) p_register <= product[35:0];
            end
        end
    endgenerate
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16, P15,
        P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = REGISTERED ? p_register : product[35:0];
endmodule
