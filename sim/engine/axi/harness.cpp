// Runs the Verilated AXI top: clock, memory on AXI4, registers on AXI4-Lite, irq. Driven by sim/engine/axi/machine.py
// through a C interface.
//
// spatten_ports.h is generated: it includes the model and defines SPATTEN_CHANNELS(X), X(c) for each memory channel.

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "spatten_ports.h"
#include "verilated.h"
#ifdef SPATTEN_TRACE
#include "verilated_vcd_c.h"
#endif

#include "responders.hpp"

namespace {

using Top = Vspatten;
using Address = port_type<decltype(std::declval<Top&>().m_axi_ctl_araddr)>;
using Word = port_type<decltype(std::declval<Top&>().m_axi_0_rdata)>;
using ControlWord = port_type<decltype(std::declval<Top&>().m_axi_ctl_rdata)>;
using Strobe = port_type<decltype(std::declval<Top&>().m_axi_ctl_wstrb)>;

#define REQUEST(bus, a)                                                                                           \
    {                                                                                                             \
        &top.bus##_##a##valid, &top.bus##_##a##ready, &top.bus##_##a##id, &top.bus##_##a##len, &top.bus##_##a##size, \
            &top.bus##_##a##burst, &top.bus##_##a##cache, &top.bus##_##a##prot, &top.bus##_##a##addr              \
    }
#define READ(bus)                                                                                                \
    {                                                                                                            \
        REQUEST(bus, ar), &top.bus##_rvalid, &top.bus##_rready, &top.bus##_rid, &top.bus##_rlast, &top.bus##_rresp, \
            &top.bus##_rdata                                                                                     \
    }
#define WRITE(bus)                                                                                                  \
    {                                                                                                               \
        REQUEST(bus, aw), &top.bus##_wvalid, &top.bus##_wready, &top.bus##_wlast, &top.bus##_bvalid, &top.bus##_bready, \
            &top.bus##_bid, &top.bus##_bresp, &top.bus##_wdata, &top.bus##_wstrb                                    \
    }

enum State : int { RUNNING, INTERRUPT, STUCK, BREACH };

// Stalls of requests and writes; those of the words are of SALT_CHANNEL and after.
enum BusSalt : uint64_t { SALT_REQUEST = 1 << 16, SALT_WRITE = 1 << 17 };

class Machine {
public:
    // seed: of the model's random bits, from 1.
    Machine(const char* trace_path, int seed) : context_(new VerilatedContext) {
        context_->randSeed(seed);
        top_.reset(new Top(context_.get()));
        Top& top = *top_;
#define X(c) channels_.emplace_back(ReadPins<Address, Word> READ(m_axi_##c), "m_axi_" #c);
        SPATTEN_CHANNELS(X)
#undef X
        tables_.reset(new Tables(ReadPins<Address, ControlWord> READ(m_axi_ctl), "m_axi_ctl"));
        writes_.reset(new Writes(WritePins<Address, ControlWord, Strobe> WRITE(m_axi_ctl), "m_axi_ctl"));
#ifdef SPATTEN_TRACE
        if (trace_path) {
            context_->traceEverOn(true);
            trace_.reset(new VerilatedVcdC);
            top_->trace(trace_.get(), 99);
            trace_->open(trace_path);
        }
#else
        (void)trace_path;
#endif
    }

    ~Machine() {
#ifdef SPATTEN_TRACE
        if (trace_) trace_->close();
#endif
        top_->final();
    }

    // Those of the channel of this number; the last one is the bus of commands. Nothing may be in flight.
    void set_ideal(uint32_t channel, uint32_t latency, uint32_t depth, const Stalls& stalls, uint32_t outstanding) {
        const uint64_t salt = SALT_CHANNEL + 2 * uint64_t(channel);
        configure(channel, std::unique_ptr<MemoryChannel>(new IdealChannel({latency, depth, stalls, salt})), stalls,
                  outstanding);
        if (channel == channels_.size()) writes_->configure(latency, stalls, SALT_WRITE, outstanding);
    }
    bool set_hbm2(uint32_t channel, const uint32_t* values, size_t count, uint32_t outstanding) {
        hbm2::Timing timing;
        if (!timing.assign(values, count)) return false;
        configure(channel, std::unique_ptr<MemoryChannel>(new hbm2::Channel(timing, channel, sizeof(Word))), {},
                  outstanding);
        return true;
    }
    void set_host(const Stalls& stalls, uint64_t watchdog) {
        host_ = stalls;
        watchdog_ = watchdog;
    }

    // Memory of the next run, and the addresses of the words 0 of its channels.
    void set_memory(uint8_t* bytes, uint64_t base, uint64_t size, const uint64_t* origins, bool record) {
        memory_ = {bytes, base, size};
        for (size_t c = 0; c < channels_.size(); ++c) {
            channels_[c].set_origin(origins[c]);
            channels_[c].record(record);
            channels_[c].begin();
        }
    }

    // A reset pulse; cycle 0 is the first after it. The buses must have been configured for it.
    void reset() {
        top_->s_axil_awvalid = top_->s_axil_wvalid = top_->s_axil_arvalid = 0;
        top_->s_axil_bready = top_->s_axil_rready = 0;
        top_->aresetn = 0;
        for (int i = 0; i < 4; ++i) {
            eval(false);
            eval(true);
        }
        top_->aresetn = 1;
        cycle_ = last_transfer_ = 0;
        breach_ = {};
    }

    // At most `cycles` cycles, or until irq is high.
    State run(uint64_t cycles) {
        for (; cycles; --cycles) {
            tick();
            if (!breach_.text.empty()) return BREACH;
            if (top_->irq) return INTERRUPT;
            if (cycle_ - last_transfer_ > watchdog_) return STUCK;
        }
        return RUNNING;
    }

    // The response of an access to registers; -1: none came.
    int write(uint32_t address, uint32_t word) {
        top_->s_axil_awaddr = static_cast<port_type<decltype(top_->s_axil_awaddr)>>(address);
        top_->s_axil_wdata = word;
        top_->s_axil_wstrb = 15;
        bool address_taken = false, word_taken = false;
        for (uint64_t i = 0; i < PATIENCE; ++i) {
            top_->s_axil_awvalid = !address_taken && (top_->s_axil_awvalid || willing(SALT_JOB));
            top_->s_axil_wvalid = !word_taken && (top_->s_axil_wvalid || willing(SALT_ID));
            top_->s_axil_bready = willing(SALT_STATUS);
            tick();
            address_taken |= seen_.aw;
            word_taken |= seen_.w;
            if (seen_.b) {
                top_->s_axil_awvalid = top_->s_axil_wvalid = top_->s_axil_bready = 0;
                return address_taken && word_taken ? seen_.response : -1;
            }
        }
        return -1;
    }
    int read(uint32_t address, uint32_t* word) {
        top_->s_axil_araddr = static_cast<port_type<decltype(top_->s_axil_araddr)>>(address);
        bool address_taken = false;
        for (uint64_t i = 0; i < PATIENCE; ++i) {
            top_->s_axil_arvalid = !address_taken && (top_->s_axil_arvalid || willing(SALT_JOB));
            top_->s_axil_rready = willing(SALT_STATUS);
            tick();
            address_taken |= seen_.ar;
            if (seen_.r) {
                top_->s_axil_arvalid = top_->s_axil_rready = 0;
                *word = seen_.word;
                return address_taken ? seen_.response : -1;
            }
        }
        return -1;
    }

    uint64_t cycle() const { return cycle_; }
    bool irq() const { return top_->irq; }
    const char* breach() const { return breach_.text.c_str(); }
    uint64_t words_read(int channel) const { return channels_[channel].words; }
    uint64_t num_addresses(int channel) const { return channels_[channel].addresses.size(); }
    const uint32_t* addresses(int channel) const { return channels_[channel].addresses.data(); }

private:
    using Tables = ReadResponder<Address, ControlWord>;
    using Writes = WriteResponder<Address, ControlWord, Strobe>;
    static constexpr uint64_t PATIENCE = 100'000;  // cycles of an access to registers

    // Of AXI4-Lite in the last cycle.
    struct Seen {
        bool aw, w, b, ar, r;
        int response;
        uint32_t word;
    };

    void configure(uint32_t channel, std::unique_ptr<MemoryChannel> timing, const Stalls& stalls, uint32_t outstanding) {
        const uint64_t salt = SALT_REQUEST + channel;
        if (channel < channels_.size()) channels_[channel].configure(std::move(timing), stalls, salt, outstanding);
        else tables_->configure(std::move(timing), stalls, salt, outstanding);
    }

    bool willing(uint64_t salt) const { return host_.willing(salt, cycle_); }

    void eval(bool clk) {
        top_->aclk = clk;
        top_->eval();
#ifdef SPATTEN_TRACE
        if (trace_) trace_->dump(context_->time());
#endif
        context_->timeInc(1);
    }

    // One cycle: pins, settle, see who transfers, edge.
    void tick() {
        for (auto& channel : channels_) channel.drive(cycle_, memory_);
        tables_->drive(cycle_, memory_);
        writes_->drive(cycle_, memory_);
        eval(false);
        bool moved = false;
        for (auto& channel : channels_) moved |= channel.observe(cycle_, memory_, breach_);
        moved |= tables_->observe(cycle_, memory_, breach_);
        moved |= writes_->observe(cycle_, memory_, breach_);
        observe_registers();
        eval(true);
        if (moved) last_transfer_ = cycle_;
        ++cycle_;
    }

    void observe_registers() {
        const Top& top = *top_;
        if (top.s_axil_awvalid || top.s_axil_wvalid || top.s_axil_arvalid) last_transfer_ = cycle_;
        seen_.aw = top.s_axil_awvalid && top.s_axil_awready;
        seen_.w = top.s_axil_wvalid && top.s_axil_wready;
        seen_.ar = top.s_axil_arvalid && top.s_axil_arready;
        seen_.b = top.s_axil_bvalid && top.s_axil_bready;
        seen_.r = top.s_axil_rvalid && top.s_axil_rready;
        if (seen_.b) seen_.response = top.s_axil_bresp;
        if (seen_.r) {
            seen_.response = top.s_axil_rresp;
            seen_.word = top.s_axil_rdata;
        }
        if (!written_.check(top.s_axil_bvalid, top.s_axil_bready, {top.s_axil_bresp})) {
            breach_.tell("s_axil", "BRESP changed before it was taken");
        }
        if (!given_.check(top.s_axil_rvalid, top.s_axil_rready, {top.s_axil_rdata, top.s_axil_rresp})) {
            breach_.tell("s_axil", "RDATA changed before it was taken");
        }
    }

    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Top> top_;
#ifdef SPATTEN_TRACE
    std::unique_ptr<VerilatedVcdC> trace_;
#endif
    std::vector<ReadResponder<Address, Word>> channels_;
    std::unique_ptr<Tables> tables_;
    std::unique_ptr<Writes> writes_;
    HostBytes memory_;
    Breach breach_;
    Stalls host_;
    Held written_, given_;
    Seen seen_ = {};
    uint64_t cycle_ = 0, last_transfer_ = 0, watchdog_ = 0;
};

Machine* of(void* m) { return static_cast<Machine*>(m); }

}  // namespace

extern "C" {

void* axi_new(const char* trace_path, int seed) { return new Machine(trace_path, seed); }
void axi_free(void* m) { delete of(m); }
void axi_set_ideal(void* m, uint32_t channel, uint32_t latency, uint32_t depth, uint64_t threshold, uint64_t seed,
                   uint32_t outstanding) {
    of(m)->set_ideal(channel, latency, depth, {seed, threshold}, outstanding);
}

// The table of HBM2Timing in sim/engine/hbm2_timing.py; 0: it has another number of parameters here.
int axi_set_hbm2(void* m, uint32_t channel, const uint32_t* values, uint64_t count, uint32_t outstanding) {
    return of(m)->set_hbm2(channel, values, count, outstanding);
}
void axi_set_host(void* m, uint64_t threshold, uint64_t seed, uint64_t watchdog) {
    of(m)->set_host({seed, threshold}, watchdog);
}
void axi_set_memory(void* m, uint8_t* bytes, uint64_t base, uint64_t size, const uint64_t* origins, int record) {
    of(m)->set_memory(bytes, base, size, origins, record);
}
void axi_reset(void* m) { of(m)->reset(); }
int axi_run(void* m, uint64_t cycles) { return of(m)->run(cycles); }
int axi_write(void* m, uint32_t address, uint32_t word) { return of(m)->write(address, word); }
int axi_read(void* m, uint32_t address, uint32_t* word) { return of(m)->read(address, word); }
uint64_t axi_cycle(void* m) { return of(m)->cycle(); }
int axi_irq(void* m) { return of(m)->irq(); }
const char* axi_breach(void* m) { return of(m)->breach(); }
uint64_t axi_words_read(void* m, int channel) { return of(m)->words_read(channel); }
uint64_t axi_num_addresses(void* m, int channel) { return of(m)->num_addresses(channel); }

// Valid until the next cycle.
const uint32_t* axi_addresses(void* m, int channel) { return of(m)->addresses(channel); }
}
