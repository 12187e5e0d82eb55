// Drives the memory on AXI4 of sim/engine/axi/responders.hpp by hand; prints a line for each case.

#include <cstdint>
#include <cstdio>
#include <vector>

using CData = uint8_t;
using QData = uint64_t;

#include "../../../../sim/engine/axi/responders.hpp"

static constexpr uint64_t BASE = 0x1000;

struct Bench {
    uint8_t arvalid = 0, arready = 0, arid = 0, arlen = 0, arsize = 3, arburst = 1, arcache = 3, arprot = 0;
    uint8_t rvalid = 0, rready = 1, rid = 0, rlast = 0, rresp = 0;
    uint8_t awvalid = 0, awready = 0, awid = 0, awlen = 0, awsize = 3, awburst = 1, awcache = 3, awprot = 0;
    uint8_t wvalid = 0, wready = 0, wlast = 0, wstrb = 0, bvalid = 0, bready = 1, bid = 0, bresp = 0;
    uint64_t araddr = BASE, rdata = 0, awaddr = BASE, wdata = 0;
    std::vector<uint8_t> bytes = std::vector<uint8_t>(0x2000);
    HostBytes memory{bytes.data(), BASE, bytes.size()};
    ReadResponder<uint64_t, uint64_t> reads{
        {{&arvalid, &arready, &arid, &arlen, &arsize, &arburst, &arcache, &arprot, &araddr},
         &rvalid, &rready, &rid, &rlast, &rresp, &rdata}, "reads"};
    WriteResponder<uint64_t, uint64_t, uint8_t> writes{
        {{&awvalid, &awready, &awid, &awlen, &awsize, &awburst, &awcache, &awprot, &awaddr},
         &wvalid, &wready, &wlast, &bvalid, &bready, &bid, &bresp, &wdata, &wstrb}, "writes"};
    Breach breach;
    uint64_t cycle = 0;

    Bench() {
        for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i / 8);
        reads.configure(std::unique_ptr<MemoryChannel>(new IdealChannel({5, 16, {}, 0})), {}, 1, 2);
        reads.set_origin(BASE);
        reads.record(true);
        writes.configure(7, {}, 2, 2);
    }
    void tick() {
        reads.drive(cycle, memory);
        writes.drive(cycle, memory);
        reads.observe(cycle, memory, breach);
        writes.observe(cycle, memory, breach);
        ++cycle;
    }
    const char* told() const { return breach.text.empty() ? "none" : breach.text.c_str(); }
};

// A breach that a request makes in the cycle in which it is taken.
template <typename Change>
void request(const char* name, Change change) {
    Bench bench;
    bench.arvalid = 1;
    change(bench);
    bench.tick();
    std::printf("%s: %s\n", name, bench.told());
}

void bursts() {
    Bench bench;
    bench.arvalid = 1;
    bench.arlen = 3;
    bench.araddr = BASE + 16;
    bench.tick();
    bench.araddr = BASE + 64;
    bench.arlen = 0;
    bench.tick();
    std::printf("third burst taken: ");
    bench.reads.drive(bench.cycle, bench.memory);
    std::printf("%d\n", bench.arready);
    bench.arvalid = 0;
    std::printf("words:");
    for (int i = 0; i < 12; ++i) {
        bench.tick();
        if (bench.rvalid) std::printf(" %d@%d%s", int(bench.rdata & 255), int(bench.cycle - 1), bench.rlast ? "L" : "");
    }
    std::printf("\nread: %d, addresses:", int(bench.reads.words));
    for (uint32_t address : bench.reads.addresses) std::printf(" %u", address);
    std::printf("\n");
}

void writes() {
    Bench bench;
    bench.wvalid = 1;  // the first beat comes before its request
    bench.wdata = 0x1122334455667788;
    bench.wstrb = 0x0f;
    bench.tick();
    bench.awvalid = 1;
    bench.awlen = 1;
    bench.wdata = 0xaabbccddeeff0011;
    bench.wstrb = 0xf0;
    bench.wlast = 1;
    bench.tick();
    bench.awvalid = bench.wvalid = 0;
    int cycles = 0;
    for (; !bench.bvalid && cycles < 100; ++cycles) {
        bench.tick();
        if (!bench.bvalid && bench.bytes[0] != 0) std::printf("written too early\n");
    }
    std::printf("response after: %d, bytes:", cycles);
    for (int i = 0; i < 16; ++i) std::printf(" %02x", bench.bytes[i]);
    std::printf(", %s\n", bench.told());
}

int main() {
    bursts();
    writes();
    request("right", [](Bench&) {});
    request("size", [](Bench& b) { b.arsize = 2; });
    request("fixed", [](Bench& b) { b.arburst = 0; });
    request("aligned", [](Bench& b) { b.araddr += 4; });
    request("page", [](Bench& b) { b.araddr = 0x1ff8, b.arlen = 1; });
    request("before", [](Bench& b) { b.araddr = 0xff8; });
    request("after", [](Bench& b) { b.araddr = 0x2ff8, b.arlen = 0, b.memory.size -= 8; });
    {
        Bench bench;  // two bursts are open, so the third one waits
        bench.arvalid = 1;
        bench.tick();
        bench.tick();
        bench.tick();
        bench.araddr += 8;
        bench.tick();
        std::printf("changed: %s\n", bench.told());
    }
    {
        Bench bench;
        bench.arvalid = 1;
        for (int i = 0; i < 3; ++i) bench.tick();
        bench.arvalid = 0;
        bench.tick();
        std::printf("withdrawn: %s\n", bench.told());
    }
    {
        Bench bench;
        bench.wvalid = 1;
        for (int i = 0; i < 65; ++i) bench.tick();  // 64 beats may come before their request
        bench.wdata = 1;
        bench.tick();
        std::printf("beat: %s\n", bench.told());
    }
    {
        Bench bench;
        bench.awvalid = bench.wvalid = bench.wlast = 1;
        bench.awlen = 1;
        bench.tick();
        std::printf("last: %s\n", bench.told());
    }
    return 0;
}
