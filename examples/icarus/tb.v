// One head of attention through spatten_axi (preset tiny), with nothing but Verilog: registers by AXI4-Lite, the
// command and all operands in memory, an interrupt, and the outputs compared with the golden model's.
// make_case.py writes case.vh, memory.hex and expected.hex.
// SPDX-License-Identifier: Apache-2.0
`timescale 1ns / 1ps

module tb;
    `include "case.vh"

    reg clk = 0, resetn = 0;
    always #5 clk = ~clk;

    reg [63:0] memory [0:WORDS - 1];
    reg [63:0] expected [0:OUT_WORDS - 1];

    // AXI4-Lite.
    reg  [15:0] awaddr = 0, araddr = 0;
    reg  [31:0] wdata = 0;
    reg         awvalid = 0, wvalid = 0, bready = 0, arvalid = 0, rready = 0;
    wire        awready, wready, bvalid, arready, rvalid, irq;
    wire [1:0]  bresp, rresp;
    wire [31:0] rdata;

    // AXI4.
    wire [63:0] ar0, ar1, arc, awc, wdatac, word0, word1, wordc, wordw;
    wire [7:0]  len0, len1, lenc, wlenc, wstrbc;
    wire        av0, av1, avc, wvc, rdy0, rdy1, rdyc, wrdyc, rv0, rv1, rvc, rl0, rl1, rlc, rr0, rr1, rrc;
    wire        wvalidc, wreadyc, wlastc, bvalidc, breadyc;

    spatten_axi dut (
        .aclk(clk), .aresetn(resetn), .irq(irq),
        .s_axil_awaddr(awaddr), .s_axil_awprot(3'b0), .s_axil_awvalid(awvalid), .s_axil_awready(awready),
        .s_axil_wdata(wdata), .s_axil_wstrb(4'hf), .s_axil_wvalid(wvalid), .s_axil_wready(wready),
        .s_axil_bresp(bresp), .s_axil_bvalid(bvalid), .s_axil_bready(bready),
        .s_axil_araddr(araddr), .s_axil_arprot(3'b0), .s_axil_arvalid(arvalid), .s_axil_arready(arready),
        .s_axil_rdata(rdata), .s_axil_rresp(rresp), .s_axil_rvalid(rvalid), .s_axil_rready(rready),
        .m_axi_0_araddr(ar0), .m_axi_0_arlen(len0), .m_axi_0_arvalid(av0), .m_axi_0_arready(rdy0), .m_axi_0_rid(1'b0),
        .m_axi_0_rdata(memory[word0]), .m_axi_0_rresp(2'b0), .m_axi_0_rlast(rl0), .m_axi_0_rvalid(rv0),
        .m_axi_0_rready(rr0), .m_axi_0_arid(), .m_axi_0_arsize(), .m_axi_0_arburst(), .m_axi_0_arcache(),
        .m_axi_0_arprot(),
        .m_axi_1_araddr(ar1), .m_axi_1_arlen(len1), .m_axi_1_arvalid(av1), .m_axi_1_arready(rdy1), .m_axi_1_rid(1'b0),
        .m_axi_1_rdata(memory[word1]), .m_axi_1_rresp(2'b0), .m_axi_1_rlast(rl1), .m_axi_1_rvalid(rv1),
        .m_axi_1_rready(rr1), .m_axi_1_arid(), .m_axi_1_arsize(), .m_axi_1_arburst(), .m_axi_1_arcache(),
        .m_axi_1_arprot(),
        .m_axi_ctl_araddr(arc), .m_axi_ctl_arlen(lenc), .m_axi_ctl_arvalid(avc), .m_axi_ctl_arready(rdyc),
        .m_axi_ctl_rid(1'b0), .m_axi_ctl_rdata(memory[wordc]), .m_axi_ctl_rresp(2'b0), .m_axi_ctl_rlast(rlc),
        .m_axi_ctl_rvalid(rvc), .m_axi_ctl_rready(rrc), .m_axi_ctl_arid(), .m_axi_ctl_arsize(), .m_axi_ctl_arburst(),
        .m_axi_ctl_arcache(), .m_axi_ctl_arprot(),
        .m_axi_ctl_awaddr(awc), .m_axi_ctl_awlen(wlenc), .m_axi_ctl_awvalid(wvc), .m_axi_ctl_awready(wrdyc),
        .m_axi_ctl_awid(), .m_axi_ctl_awsize(), .m_axi_ctl_awburst(), .m_axi_ctl_awcache(), .m_axi_ctl_awprot(),
        .m_axi_ctl_wdata(wdatac), .m_axi_ctl_wstrb(wstrbc), .m_axi_ctl_wlast(wlastc), .m_axi_ctl_wvalid(wvalidc),
        .m_axi_ctl_wready(wreadyc), .m_axi_ctl_bid(1'b0), .m_axi_ctl_bresp(2'b0), .m_axi_ctl_bvalid(bvalidc),
        .m_axi_ctl_bready(breadyc)
    );

    axi_reader #(.BASE(BASE), .WORDS(WORDS)) port0 (clk, resetn, ar0, len0, av0, rdy0, word0, rv0, rl0, rr0);
    axi_reader #(.BASE(BASE), .WORDS(WORDS)) port1 (clk, resetn, ar1, len1, av1, rdy1, word1, rv1, rl1, rr1);
    axi_reader #(.BASE(BASE), .WORDS(WORDS)) portc (clk, resetn, arc, lenc, avc, rdyc, wordc, rvc, rlc, rrc);
    axi_writer #(.BASE(BASE), .WORDS(WORDS)) portw (
        clk, resetn, awc, wlenc, wvc, wrdyc, wordw, wlastc, wvalidc, wreadyc, bvalidc, breadyc);

    integer byte_;
    always @(posedge clk)
        if (wvalidc && wreadyc)
            for (byte_ = 0; byte_ < 8; byte_ = byte_ + 1)
                if (wstrbc[byte_]) memory[wordw][8 * byte_ +: 8] <= wdatac[8 * byte_ +: 8];

    task write(input [15:0] address, input [31:0] value);
        begin
            @(negedge clk);
            awaddr = address; wdata = value; awvalid = 1; wvalid = 1; bready = 1;
            while (awvalid || wvalid) begin
                @(posedge clk);
                if (awready) awvalid <= 0;
                if (wready) wvalid <= 0;
                @(negedge clk);
            end
            while (!bvalid) @(negedge clk);
            if (bresp != 0) begin $display("FAILED: register %h answers %b", address, bresp); $finish_and_return(1); end
            @(negedge clk) bready = 0;
        end
    endtask

    task address(input [15:0] place, input [63:0] value);
        begin
            write(place, value[31:0]);
            write(place + 4, value[63:32]);
        end
    endtask

    integer index, wrong;
    reg [63:0] place;
    initial begin
        $readmemh("memory.hex", memory);
        $readmemh("expected.hex", expected);
        repeat (4) @(negedge clk);
        resetn = 1;
        address(CHANNEL_BASE, PLANES_0);
        address(CHANNEL_BASE + 8, PLANES_1);
        address(QUEUE + 16'h08, COMMANDS);
        address(QUEUE + 16'h10, COMPLETIONS);
        address(QUEUE + 16'h20, BASE);                 // window of reads
        address(QUEUE + 16'h28, BASE + 8 * WORDS);
        address(QUEUE + 16'h30, BASE);                 // window of writes
        address(QUEUE + 16'h38, BASE + 8 * WORDS);
        write(IRQ_ENABLE, 32'h0001_0001);              // faults, queue 0
        write(CTRL, 1);
        write(QUEUE, 1);
        write(DOORBELL, 1);                            // one command is in the ring, which has one slot
        index = 0;
        while (!irq && index < 20000) begin
            @(negedge clk);
            index = index + 1;
        end
        if (!irq) begin $display("FAILED: no interrupt after %0d cycles", index); $finish_and_return(1); end
        place = ((COMPLETIONS - BASE) >> 3) + 3;        // the last word of the completion
        $display("interrupt %0d cycles after the doorbell; code %0d, tag %0d", index, memory[place][23:16],
                 memory[place][15:0]);
        wrong = memory[place][23:16] != 0;
        for (index = 0; index < OUT_WORDS; index = index + 1)
            if (memory[((OUT - BASE) >> 3) + index] !== expected[index]) wrong = wrong + 1;
        if (wrong != 0) begin $display("FAILED: %0d words differ from golden", wrong); $finish_and_return(1); end
        $display("PASSED: %0d outputs, equal to golden", 2 * OUT_WORDS);
        $finish;
    end
endmodule
