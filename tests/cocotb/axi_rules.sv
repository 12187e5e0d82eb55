// Rules of AXI4 that spatten_axi must keep, for two memory channels of 64-bit words: `broken` stays 1 when one was not kept.

// VALID stays until READY, and so does all that goes with it.
module channel_rules #(parameter WIDTH = 1) (
  input wire clk, input wire rst_n, input wire valid, input wire ready, input wire [WIDTH-1:0] payload
);
  reg broken = 0;
  reg held = 0;
  reg [WIDTH-1:0] kept = 0;
  always @(posedge clk) begin
    held <= rst_n && valid && !ready;
    kept <= payload;
    if (rst_n && held && (!valid || payload != kept)) broken <= 1;
  end
endmodule

// A burst is INCR, of whole words, within a page of 4 KiB.
module burst_rules #(parameter ADDRESS = 32, parameter LOG_BYTES = 3) (
  input wire clk, input wire valid, input wire [ADDRESS-1:0] address, input wire [7:0] len, input wire [2:0] size,
  input wire [1:0] burst
);
  reg broken = 0;
  wire [16:0] last = {5'd0, address[11:0]} + (({9'd0, len} + 17'd1) << LOG_BYTES) - 17'd1;
  always @(posedge clk)
    if (valid && (last[16:12] != 0 || size != LOG_BYTES || burst != 2'd1 || address[LOG_BYTES-1:0] != 0)) broken <= 1;
endmodule

// READY of the channels on which the bus answers is always 1.
module ready_rules (input wire clk, input wire ready);
  reg broken = 0;
  always @(posedge clk) if (!ready) broken <= 1;
endmodule

`define RULES_OF_READS(name) \
  bind spatten_axi channel_rules #(.WIDTH(53)) rules_``name``_ar (.clk(aclk), .rst_n(aresetn), \
    .valid(m_axi_``name``_arvalid), .ready(m_axi_``name``_arready), .payload({m_axi_``name``_araddr, \
    m_axi_``name``_arlen, m_axi_``name``_arsize, m_axi_``name``_arburst, m_axi_``name``_arcache, \
    m_axi_``name``_arprot, m_axi_``name``_arid})); \
  bind spatten_axi burst_rules bursts_``name``_ar (.clk(aclk), .valid(m_axi_``name``_arvalid), \
    .address(m_axi_``name``_araddr), .len(m_axi_``name``_arlen), .size(m_axi_``name``_arsize), \
    .burst(m_axi_``name``_arburst)); \
  bind spatten_axi ready_rules ready_``name``_r (.clk(aclk), .ready(m_axi_``name``_rready));

`RULES_OF_READS(0)
`RULES_OF_READS(1)
`RULES_OF_READS(ctl)

bind spatten_axi channel_rules #(.WIDTH(53)) rules_ctl_aw (.clk(aclk), .rst_n(aresetn), .valid(m_axi_ctl_awvalid),
  .ready(m_axi_ctl_awready), .payload({m_axi_ctl_awaddr, m_axi_ctl_awlen, m_axi_ctl_awsize, m_axi_ctl_awburst,
  m_axi_ctl_awcache, m_axi_ctl_awprot, m_axi_ctl_awid}));
bind spatten_axi burst_rules bursts_ctl_aw (.clk(aclk), .valid(m_axi_ctl_awvalid), .address(m_axi_ctl_awaddr),
  .len(m_axi_ctl_awlen), .size(m_axi_ctl_awsize), .burst(m_axi_ctl_awburst));
bind spatten_axi channel_rules #(.WIDTH(73)) rules_ctl_w (.clk(aclk), .rst_n(aresetn), .valid(m_axi_ctl_wvalid),
  .ready(m_axi_ctl_wready), .payload({m_axi_ctl_wdata, m_axi_ctl_wstrb, m_axi_ctl_wlast}));
bind spatten_axi ready_rules ready_ctl_b (.clk(aclk), .ready(m_axi_ctl_bready));
bind spatten_axi channel_rules #(.WIDTH(34)) rules_s_r (.clk(aclk), .rst_n(aresetn), .valid(s_axil_rvalid),
  .ready(s_axil_rready), .payload({s_axil_rdata, s_axil_rresp}));
bind spatten_axi channel_rules #(.WIDTH(2)) rules_s_b (.clk(aclk), .rst_n(aresetn), .valid(s_axil_bvalid),
  .ready(s_axil_bready), .payload(s_axil_bresp));
