// SPDX-License-Identifier: Apache-2.0
// Behaviour of the ECP5's block RAM as Yosys emits it. A parameter outside of that is an error of the build.
//
// 1,024 words of two bytes of 9 bits. A port of 1, 2 or 4 bits uses 8 bits of each byte. A port of 18 bits has its byte
// enables at address bits 1 and 0. With DATA_WIDTH_A 36, port A only writes (byte enables at bits 3 to 0, DIB is the
// upper half), port B only reads (36 bits: DOA is the lower half).
//
// SPATTEN_RANDOM_STATE: output registers, and memories without initial contents, begin with random bits.
// What port B reads while port A writes the same bits, and the other way round, is random.
module DP16KD (
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2,
        DIA1, DIA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
        DOA1, DOA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2,
        DIB1, DIB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
        DOB1, DOB0
);
    parameter DATA_WIDTH_A = 18;
    parameter DATA_WIDTH_B = 18;
    parameter REGMODE_A = "NOREG";
    parameter REGMODE_B = "NOREG";
    parameter RESETMODE = "SYNC";
    parameter ASYNC_RESET_RELEASE = "SYNC";
    parameter CSDECODE_A = "0b000";
    parameter CSDECODE_B = "0b000";
    parameter WRITEMODE_A = "NORMAL";
    parameter WRITEMODE_B = "NORMAL";
    parameter CLKAMUX = "CLKA";
    parameter CLKBMUX = "CLKB";
    parameter GSR = "ENABLED";  // global set/reset: not used by these designs
    parameter [319:0] INITVAL_00 = 320'h0;
    parameter [319:0] INITVAL_01 = 320'h0;
    parameter [319:0] INITVAL_02 = 320'h0;
    parameter [319:0] INITVAL_03 = 320'h0;
    parameter [319:0] INITVAL_04 = 320'h0;
    parameter [319:0] INITVAL_05 = 320'h0;
    parameter [319:0] INITVAL_06 = 320'h0;
    parameter [319:0] INITVAL_07 = 320'h0;
    parameter [319:0] INITVAL_08 = 320'h0;
    parameter [319:0] INITVAL_09 = 320'h0;
    parameter [319:0] INITVAL_0A = 320'h0;
    parameter [319:0] INITVAL_0B = 320'h0;
    parameter [319:0] INITVAL_0C = 320'h0;
    parameter [319:0] INITVAL_0D = 320'h0;
    parameter [319:0] INITVAL_0E = 320'h0;
    parameter [319:0] INITVAL_0F = 320'h0;
    parameter [319:0] INITVAL_10 = 320'h0;
    parameter [319:0] INITVAL_11 = 320'h0;
    parameter [319:0] INITVAL_12 = 320'h0;
    parameter [319:0] INITVAL_13 = 320'h0;
    parameter [319:0] INITVAL_14 = 320'h0;
    parameter [319:0] INITVAL_15 = 320'h0;
    parameter [319:0] INITVAL_16 = 320'h0;
    parameter [319:0] INITVAL_17 = 320'h0;
    parameter [319:0] INITVAL_18 = 320'h0;
    parameter [319:0] INITVAL_19 = 320'h0;
    parameter [319:0] INITVAL_1A = 320'h0;
    parameter [319:0] INITVAL_1B = 320'h0;
    parameter [319:0] INITVAL_1C = 320'h0;
    parameter [319:0] INITVAL_1D = 320'h0;
    parameter [319:0] INITVAL_1E = 320'h0;
    parameter [319:0] INITVAL_1F = 320'h0;
    parameter [319:0] INITVAL_20 = 320'h0;
    parameter [319:0] INITVAL_21 = 320'h0;
    parameter [319:0] INITVAL_22 = 320'h0;
    parameter [319:0] INITVAL_23 = 320'h0;
    parameter [319:0] INITVAL_24 = 320'h0;
    parameter [319:0] INITVAL_25 = 320'h0;
    parameter [319:0] INITVAL_26 = 320'h0;
    parameter [319:0] INITVAL_27 = 320'h0;
    parameter [319:0] INITVAL_28 = 320'h0;
    parameter [319:0] INITVAL_29 = 320'h0;
    parameter [319:0] INITVAL_2A = 320'h0;
    parameter [319:0] INITVAL_2B = 320'h0;
    parameter [319:0] INITVAL_2C = 320'h0;
    parameter [319:0] INITVAL_2D = 320'h0;
    parameter [319:0] INITVAL_2E = 320'h0;
    parameter [319:0] INITVAL_2F = 320'h0;
    parameter [319:0] INITVAL_30 = 320'h0;
    parameter [319:0] INITVAL_31 = 320'h0;
    parameter [319:0] INITVAL_32 = 320'h0;
    parameter [319:0] INITVAL_33 = 320'h0;
    parameter [319:0] INITVAL_34 = 320'h0;
    parameter [319:0] INITVAL_35 = 320'h0;
    parameter [319:0] INITVAL_36 = 320'h0;
    parameter [319:0] INITVAL_37 = 320'h0;
    parameter [319:0] INITVAL_38 = 320'h0;
    parameter [319:0] INITVAL_39 = 320'h0;
    parameter [319:0] INITVAL_3A = 320'h0;
    parameter [319:0] INITVAL_3B = 320'h0;
    parameter [319:0] INITVAL_3C = 320'h0;
    parameter [319:0] INITVAL_3D = 320'h0;
    parameter [319:0] INITVAL_3E = 320'h0;
    parameter [319:0] INITVAL_3F = 320'h0;

    localparam WIDE = DATA_WIDTH_A == 36;
    localparam [64 * 320 - 1:0] INIT =
        {INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38, INITVAL_37,
            INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30, INITVAL_2F,
            INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28, INITVAL_27,
            INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20, INITVAL_1F,
            INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18, INITVAL_17,
            INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10, INITVAL_0F,
            INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08, INITVAL_07,
            INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00};

    generate
        if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG") $error("DP16KD: an output register has no model");
        if (CSDECODE_A != "0b000" || CSDECODE_B != "0b000") $error("DP16KD: CSDECODE must be 0b000");
        if (RESETMODE != "SYNC" && RESETMODE != "ASYNC") $error("DP16KD: RESETMODE must be SYNC or ASYNC");
        if (ASYNC_RESET_RELEASE != RESETMODE) $error("DP16KD: ASYNC_RESET_RELEASE must be as RESETMODE");
        if (CLKAMUX != "CLKA" || CLKBMUX != "CLKB") $error("DP16KD: inverted clocks have no model");
        if (DATA_WIDTH_B == 36 && !WIDE) $error("DP16KD: DATA_WIDTH_B 36 needs DATA_WIDTH_A 36");
        if (!WIDE && DATA_WIDTH_A != 18 && DATA_WIDTH_A != 9 && DATA_WIDTH_A != 4 && DATA_WIDTH_A != 2 &&
            DATA_WIDTH_A != 1) $error("DP16KD: DATA_WIDTH_A must be 1, 2, 4, 9, 18 or 36");
        if (DATA_WIDTH_B != 36 && DATA_WIDTH_B != 18 && DATA_WIDTH_B != 9 && DATA_WIDTH_B != 4 && DATA_WIDTH_B != 2 &&
            DATA_WIDTH_B != 1) $error("DP16KD: DATA_WIDTH_B must be 1, 2, 4, 9, 18 or 36");
        if (WRITEMODE_A != "NORMAL" && WRITEMODE_A != "WRITETHROUGH" && WRITEMODE_A != "READBEFOREWRITE")
            $error("DP16KD: WRITEMODE_A must be NORMAL, WRITETHROUGH or READBEFOREWRITE");
        if (WRITEMODE_B != "NORMAL" && WRITEMODE_B != "WRITETHROUGH" && WRITEMODE_B != "READBEFOREWRITE")
            $error("DP16KD: WRITEMODE_B must be NORMAL, WRITETHROUGH or READBEFOREWRITE");
    endgenerate

    wire [13:0] ad_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
    wire [17:0] di_a = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4,
        DIA3, DIA2, DIA1, DIA0};
    wire [13:0] ad_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
    wire [17:0] di_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4,
        DIB3, DIB2, DIB1, DIB0};
    wire select_a = CEA && {CSA2, CSA1, CSA0} == 0;
    wire select_b = CEB && {CSB2, CSB1, CSB0} == 0;

    reg [17:0] memory [0:1023];
    reg [17:0] read_a, read_b, upper_b;  // upper_b: upper half of 36 bits
    integer i;
    initial begin
        read_a = 0;
        read_b = 0;
        upper_b = 0;
        for (i = 0; i < 1024; i = i + 1) memory[i] = INIT[i * 20 +: 18];
`ifdef SPATTEN_RANDOM_STATE
        read_a = $urandom;
        read_b = $urandom;
        upper_b = $urandom;
        if (INIT == 0) for (i = 0; i < 1024; i = i + 1) memory[i] = $urandom;
`endif
    end

    // First bit of an item narrower than a word, in the word.
    function [4:0] place(input integer width, input [3:0] address);
        case (width)
            9: place = address[3] ? 9 : 0;
            4: place = (address[3] ? 9 : 0) + {address[2], 2'b00};
            2: place = (address[3] ? 9 : 0) + {address[2:1], 1'b0};
            1: place = (address[3] ? 9 : 0) + address[2:0];
            default: place = 0;
        endcase
    endfunction

    // The bits of an item; of 18 bits, or half of 36, all.
    function [17:0] ones(input integer width);
        ones = width >= 18 ? 18'h3FFFF : (18'd1 << width) - 18'd1;
    endfunction
    localparam [17:0] ONES_A = ones(DATA_WIDTH_A);
    localparam [17:0] ONES_B = ones(DATA_WIDTH_B);

    // A reset of the output register, if synchronous, also keeps the port from writing.
    wire write_a = select_a && WEA && !(RESETMODE == "SYNC" && RSTA);
    wire write_b = select_b && WEB && !(RESETMODE == "SYNC" && RSTB) && !WIDE;
    wire [9:0] word_a = ad_a[13:4], word_b = ad_b[13:4];
    wire [4:0] first_a = place(DATA_WIDTH_A, ad_a[3:0]), first_b = place(DATA_WIDTH_B, ad_b[3:0]);

    generate
        if (WIDE) begin : wide
            always @(posedge CLKA) if (write_a) begin
                if (ad_a[0]) memory[{word_a[9:1], 1'b0}][8:0] <= di_a[8:0];
                if (ad_a[1]) memory[{word_a[9:1], 1'b0}][17:9] <= di_a[17:9];
                if (ad_a[2]) memory[{word_a[9:1], 1'b1}][8:0] <= di_b[8:0];
                if (ad_a[3]) memory[{word_a[9:1], 1'b1}][17:9] <= di_b[17:9];
            end
        end else begin : narrow
            if (DATA_WIDTH_A == 18) begin : bytes_a
                always @(posedge CLKA) if (write_a) begin
                    if (ad_a[0]) memory[word_a][8:0] <= di_a[8:0];
                    if (ad_a[1]) memory[word_a][17:9] <= di_a[17:9];
                end
            end else begin : item_a
                always @(posedge CLKA)
                    if (write_a) memory[word_a][first_a +: DATA_WIDTH_A] <= di_a[DATA_WIDTH_A - 1:0];
            end
            if (DATA_WIDTH_B == 18) begin : bytes_b
                always @(posedge CLKB) if (write_b) begin
                    if (ad_b[0]) memory[word_b][8:0] <= di_b[8:0];
                    if (ad_b[1]) memory[word_b][17:9] <= di_b[17:9];
                end
            end else begin : item_b
                always @(posedge CLKB)
                    if (write_b) memory[word_b][first_b +: DATA_WIDTH_B] <= di_b[DATA_WIDTH_B - 1:0];
            end
        end
    endgenerate

    // What a write shows on its own port with WRITETHROUGH: of 18 bits, bytes that are not written are read.
    wire [17:0] shown_a = DATA_WIDTH_A == 18 ? {{9{ad_a[1]}}, {9{ad_a[0]}}} : ONES_A;
    wire [17:0] shown_b = DATA_WIDTH_B == 18 ? {{9{ad_b[1]}}, {9{ad_b[0]}}} : ONES_B;
    wire [17:0] old_a = memory[word_a] >> first_a & ONES_A;
    wire [17:0] old_b = memory[DATA_WIDTH_B == 36 ? {word_b[9:1], 1'b0} : word_b] >> first_b & ONES_B;
    wire [17:0] new_a = WRITEMODE_A == "WRITETHROUGH" && WEA ? di_a & shown_a | old_a & ~shown_a : old_a;
    wire [17:0] new_b = WRITEMODE_B == "WRITETHROUGH" && WEB ? di_b & shown_b | old_b & ~shown_b : old_b;
    wire load_a = select_a && !WIDE && !(WRITEMODE_A == "NORMAL" && WEA);
    wire load_b = select_b && !(WRITEMODE_B == "NORMAL" && WEB && !WIDE);

    // Bits of its word (with 36 bits: of the lower and of the upper word) that a port writes.
    wire [17:0] written_a = WIDE || DATA_WIDTH_A == 18 ? {{9{ad_a[1]}}, {9{ad_a[0]}}} : ONES_A << first_a;
    wire [17:0] written_b = DATA_WIDTH_B == 18 ? {{9{ad_b[1]}}, {9{ad_b[0]}}} : ONES_B << first_b;
    wire [17:0] written_upper = {{9{ad_a[3]}}, {9{ad_a[2]}}};

    // Bits that a port reads while the other one writes them.
    reg [17:0] clash_a, clash_b, clash_upper;
    always @* begin
        clash_a = 0;
        clash_b = 0;
        clash_upper = 0;
        if (write_b && word_a == word_b) clash_a = written_b >> first_a & ONES_A;
        if (write_a && (WIDE ? word_a[9:1] == word_b[9:1] : word_a == word_b)) begin
            clash_b = (WIDE && DATA_WIDTH_B != 36 && word_b[0] ? written_upper : written_a) >> first_b & ONES_B;
            clash_upper = written_upper;
        end
    end

    generate
        if (RESETMODE == "ASYNC") begin : async_reset
            always @(posedge CLKA or posedge RSTA)
                if (RSTA) read_a <= 0;
                else if (load_a) read_a <= new_a ^ clash_a & $urandom;
            always @(posedge CLKB or posedge RSTB)
                if (RSTB) begin
                    read_b <= 0;
                    upper_b <= 0;
                end else if (load_b) begin
                    read_b <= new_b ^ clash_b & $urandom;
                    upper_b <= memory[{word_b[9:1], 1'b1}] ^ clash_upper & $urandom;
                end
        end else begin : sync_reset
            always @(posedge CLKA)
                if (RSTA) read_a <= 0;
                else if (load_a) read_a <= new_a ^ clash_a & $urandom;
            always @(posedge CLKB)
                if (RSTB) begin
                    read_b <= 0;
                    upper_b <= 0;
                end else if (load_b) begin
                    read_b <= new_b ^ clash_b & $urandom;
                    upper_b <= memory[{word_b[9:1], 1'b1}] ^ clash_upper & $urandom;
                end
        end
    endgenerate

    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2,
        DOA1, DOA0} = DATA_WIDTH_B == 36 ? read_b : read_a;
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2,
        DOB1, DOB0} = DATA_WIDTH_B == 36 ? upper_b : read_b;
endmodule
