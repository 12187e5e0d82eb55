// A memory of 64-bit words with three AXI4 ports, for simulation: two that read, one that reads and writes.
// Requests of a port are served one after the other, a beat a cycle; every response is OKAY.
// SPDX-License-Identifier: Apache-2.0

module axi_reader #(parameter BASE = 64'h0, parameter WORDS = 1024) (
    input             clk,
    input             resetn,
    input      [63:0] araddr,
    input      [7:0]  arlen,
    input             arvalid,
    output            arready,
    output     [63:0] word,     // number of the word that is to stand at rdata
    output reg        rvalid,
    output reg        rlast,
    input             rready
);
    reg [63:0] next;
    reg [8:0]  left;            // beats of the burst that are not taken
    assign arready = left == 0;
    assign word = next;
    always @(posedge clk) begin
        if (!resetn) begin
            left <= 0;
            rvalid <= 0;
            rlast <= 0;
        end else if (arvalid && arready) begin
            if (araddr < BASE || araddr + 8 * (arlen + 1) > BASE + 8 * WORDS) begin
                $display("FAILED: %0d words at %h are read, outside of the memory", arlen + 1, araddr);
                $finish_and_return(1);
            end
            next <= (araddr - BASE) >> 3;
            left <= arlen + 9'd1;
            rvalid <= 1;
            rlast <= arlen == 0;
        end else if (rvalid && rready) begin
            next <= next + 1;
            left <= left - 9'd1;
            rvalid <= left != 1;
            rlast <= left == 2;
        end
    end
endmodule

module axi_writer #(parameter BASE = 64'h0, parameter WORDS = 1024) (
    input             clk,
    input             resetn,
    input      [63:0] awaddr,
    input      [7:0]  awlen,
    input             awvalid,
    output            awready,
    output     [63:0] word,     // number of the word that wdata is for
    input             wlast,
    input             wvalid,
    output            wready,
    output            bvalid,
    input             bready
);
    localparam IDLE = 0, DATA = 1, RESPONSE = 2;
    reg [1:0]  state;
    reg [63:0] next;
    assign awready = state == IDLE;
    assign wready = state == DATA;
    assign bvalid = state == RESPONSE;
    assign word = next;
    always @(posedge clk) begin
        if (!resetn)
            state <= IDLE;
        else case (state)
            IDLE: if (awvalid) begin
                if (awaddr < BASE || awaddr + 8 * (awlen + 1) > BASE + 8 * WORDS) begin
                    $display("FAILED: %0d words at %h are written, outside of the memory", awlen + 1, awaddr);
                    $finish_and_return(1);
                end
                next <= (awaddr - BASE) >> 3;
                state <= DATA;
            end
            DATA: if (wvalid) begin
                next <= next + 1;
                if (wlast) state <= RESPONSE;
            end
            default: if (bready) state <= IDLE;
        endcase
    end
endmodule
