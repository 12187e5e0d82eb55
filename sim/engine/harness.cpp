// Runs the Verilated accelerator: clock, host streams, memory channels. Driven by sim/engine/verilator.py through a C interface.
//
// spatten_ports.h is generated: it includes the model and defines SPATTEN_CHANNELS(X), X(c) for each memory channel.
// Items of a stream are little-endian arrays of 32-bit words, as Verilator keeps wide ports.

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "channels.hpp"
#include "spatten_ports.h"
#include "verilated.h"
#ifdef SPATTEN_TRACE
#include "verilated_vcd_c.h"
#endif

namespace {

using Address = port_type<decltype(std::declval<Vspatten&>().memory_0_request_payload)>;
using Word = port_type<decltype(std::declval<Vspatten&>().memory_0_response_payload)>;

struct ChannelPins {
    CData* request_valid;
    CData* request_ready;
    Address* request_payload;
    CData* response_valid;
    CData* response_ready;
    Word* response_payload;
};

// Items that the host sends; `valid` stays up until the item is taken.
struct Source {
    std::vector<uint32_t> words;
    size_t stride = 1;
    size_t next = 0;
    bool offered = false;

    bool offers(bool willing) {
        const bool was = offered;
        if (!offered && next < words.size()) offered = willing;
        fresh = offered && !was;
        return offered;
    }
    void taken() {
        next += stride;
        offered = false;
    }
    bool fresh = false;  // the payload is to be put on the pins
};

enum State : int { RUNNING, DONE, STUCK, FAULT };

class Simulation {
public:
    // seed: of the model's random bits, from 1.
    Simulation(const char* trace_path, int seed) : context_(new VerilatedContext) {
        context_->randSeed(seed);
        top_.reset(new Vspatten(context_.get()));
#define X(c)                                                                                                    \
    pins_.push_back({&top_->memory_##c##_request_valid, &top_->memory_##c##_request_ready,                      \
                     &top_->memory_##c##_request_payload, &top_->memory_##c##_response_valid,                   \
                     &top_->memory_##c##_response_ready, &top_->memory_##c##_response_payload});
        SPATTEN_CHANNELS(X)
#undef X
        channels_.resize(pins_.size());
        memory_.resize(pins_.size());
        shown_.resize(pins_.size());
        words_read_.resize(pins_.size());
        addresses_.resize(pins_.size());
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

    ~Simulation() {
#ifdef SPATTEN_TRACE
        if (trace_) trace_->close();
#endif
        top_->final();
    }

    // Each run needs the channels anew: they begin with nothing in flight.
    void set_ideal(int channel, uint32_t latency, uint32_t depth, uint64_t threshold, uint64_t seed) {
        const uint64_t salt = SALT_CHANNEL + 2 * uint64_t(channel);
        channels_[channel].reset(new IdealChannel({latency, depth, {seed, threshold}, salt}));
    }

    // A word is 32 · 2ⁿ bits: its port has no byte more.
    bool set_hbm2(int channel, const uint32_t* values, size_t count) {
        hbm2::Timing timing;
        if (!timing.assign(values, count)) return false;
        channels_[channel].reset(new hbm2::Channel(timing, channel, sizeof(Word)));
        return true;
    }

    void record_addresses(bool record) { record_ = record; }

    void set_host(uint64_t threshold, uint64_t seed, uint64_t watchdog) {
        host_ = {seed, threshold};
        watchdog_ = watchdog;
    }

    void set_memory(int channel, const uint32_t* words, size_t count) { memory_[channel].assign(words, words + count); }

    // Items of a host stream (0: job, 1: layer, 2: heads, 3: ids) of the next run.
    void set_items(int which, const uint32_t* words, size_t count) {
        const size_t strides[] = {words_of<port_type<decltype(top_->job_payload)>>,
                                  words_of<port_type<decltype(top_->layer_payload)>>,
                                  words_of<port_type<decltype(top_->heads_payload)>>,
                                  words_of<port_type<decltype(top_->ids_payload)>>};
        Source* sources[] = {&jobs_, &layers_, &heads_, &ids_};
        *sources[which] = Source{};
        sources[which]->stride = strides[which];
        sources[which]->words.assign(words, words + count * strides[which]);
    }

    // The run begins with cycle 0, after a reset pulse if `reset`; it ends with status item `expected`.
    void start(size_t expected, bool reset, uint32_t base, uint64_t limit) {
        expected_ = expected;
        window_base_ = base;
        window_limit_ = limit;
        out_.clear();
        prob_.clear();
        status_.clear();
        survivor_.clear();
        status_cycles_.clear();
        words_read_.assign(words_read_.size(), 0);
        for (auto& addresses : addresses_) addresses.clear();
        shown_.assign(shown_.size(), false);
        cycle_ = last_transfer_ = 0;
        state_ = RUNNING;
        top_->window_base = base;
        top_->window_limit = static_cast<port_type<decltype(top_->window_limit)>>(limit);
        top_->counters_clear = 1;
        top_->job_valid = top_->layer_valid = top_->heads_valid = top_->ids_valid = 0;
        top_->out_ready = top_->prob_ready = top_->status_ready = top_->survivor_ready = 0;
        for (auto& pins : pins_) *pins.request_ready = *pins.response_valid = 0;
        top_->rst = reset;
        for (int i = 0; i < 4; ++i) clock();
        top_->rst = 0;
        clock();  // as in sim/engine/pysim.py: what counters see of the state after reset is not counted
        top_->counters_clear = 0;
    }

    // At most `cycles` cycles; returns the state.
    int step(uint64_t cycles) {
        for (; cycles && state_ == RUNNING; --cycles) tick();
        return state_;
    }

    // After the last status: on until nothing moves for `quiet` cycles, so that surplus items are seen.
    void drain(uint64_t quiet) {
        uint64_t idle = 0;
        for (uint64_t i = 0; idle < quiet && i < 1000 * quiet; ++i) {
            const uint64_t before = last_transfer_;
            tick();
            idle = last_transfer_ == before ? idle + 1 : 0;
        }
    }

    std::vector<uint32_t> counters() const {
        std::vector<uint32_t> words;
        append(words, top_->counters);
        return words;
    }

    const std::vector<uint32_t>& stream(int which) const {
        return which == 0 ? out_ : which == 1 ? prob_ : which == 2 ? status_ : survivor_;
    }
    const std::vector<uint64_t>& status_cycles() const { return status_cycles_; }
    uint64_t words_read(int channel) const { return words_read_[channel]; }
    const uint32_t* addresses(int channel) const { return addresses_[channel].data(); }
    uint64_t cycle() const { return cycle_; }
    int fault_channel() const { return fault_channel_; }
    uint64_t fault_address() const { return fault_address_; }

private:
    void eval(bool clk) {
        top_->clk = clk;
        top_->eval();
#ifdef SPATTEN_TRACE
        if (trace_) trace_->dump(context_->time());
#endif
        context_->timeInc(1);
    }

    void clock() {
        eval(false);
        eval(true);
    }

    // One cycle: pins, settle, see who transfers, edge.
    void tick() {
        drive();
        eval(false);
        observe();
        eval(true);
        ++cycle_;
        if (state_ == RUNNING) {
            if (status_cycles_.size() >= expected_) state_ = DONE;
            else if (cycle_ - last_transfer_ > watchdog_) state_ = STUCK;
        }
    }

    void drive() {
        top_->job_valid = jobs_.offers(host_.willing(SALT_JOB, cycle_));
        if (jobs_.fresh) store(top_->job_payload, &jobs_.words[jobs_.next]);
        top_->layer_valid = layers_.offers(host_.willing(SALT_LAYER, cycle_));
        if (layers_.fresh) store(top_->layer_payload, &layers_.words[layers_.next]);
        top_->heads_valid = heads_.offers(host_.willing(SALT_HEAD, cycle_));
        if (heads_.fresh) store(top_->heads_payload, &heads_.words[heads_.next]);
        top_->ids_valid = ids_.offers(host_.willing(SALT_ID, cycle_));
        if (ids_.fresh) store(top_->ids_payload, &ids_.words[ids_.next]);
        top_->status_ready = host_.willing(SALT_STATUS, cycle_);
        top_->out_ready = host_.willing(SALT_OUT, cycle_);
        top_->prob_ready = host_.willing(SALT_PROB, cycle_);
        top_->survivor_ready = host_.willing(SALT_SURVIVOR, cycle_);
        for (size_t c = 0; c < pins_.size(); ++c) {
            MemoryChannel& channel = *channels_[c];
            channel.advance(cycle_);
            *pins_[c].request_ready = channel.takes_request(cycle_);
            const bool offers = channel.offers_response(cycle_);
            if (offers && !shown_[c]) put_word(c, channel.response_address());
            shown_[c] = offers;
            *pins_[c].response_valid = offers;
        }
    }

    void put_word(size_t c, uint64_t address) {
        constexpr size_t count = words_of<Word>;
        if ((address + 1) * count <= memory_[c].size()) {
            store(*pins_[c].response_payload, &memory_[c][address * count]);
        } else {
            const std::array<uint32_t, count> zero{};
            store(*pins_[c].response_payload, zero.data());
        }
    }

    void observe() {
        bool moved = false;
        if (top_->job_valid && top_->job_ready) jobs_.taken(), moved = true;
        if (top_->layer_valid && top_->layer_ready) layers_.taken(), moved = true;
        if (top_->heads_valid && top_->heads_ready) heads_.taken(), moved = true;
        if (top_->ids_valid && top_->ids_ready) ids_.taken(), moved = true;
        if (top_->survivor_valid && top_->survivor_ready) append(survivor_, top_->survivor_payload), moved = true;
        if (top_->out_valid && top_->out_ready) append(out_, top_->out_payload), moved = true;
        if (top_->prob_valid && top_->prob_ready) append(prob_, top_->prob_payload), moved = true;
        if (top_->status_valid && top_->status_ready) {
            append(status_, top_->status_payload);
            status_cycles_.push_back(cycle_);
            moved = true;
        }
        for (size_t c = 0; c < pins_.size(); ++c) {
            const ChannelPins& pins = pins_[c];
            if (*pins.response_valid && *pins.response_ready) {
                channels_[c]->response_taken();
                shown_[c] = false;  // the next response is a new word
                moved = true;
            }
            if (*pins.request_valid && *pins.request_ready) {
                accept(c, *pins.request_payload);
                moved = true;
            }
        }
        if (moved) last_transfer_ = cycle_;
    }

    void accept(size_t c, uint64_t address) {
        channels_[c]->request(cycle_, address, false);
        ++words_read_[c];
        if (record_) addresses_[c].push_back(static_cast<uint32_t>(address));
        if ((address < window_base_ || address >= window_limit_) && state_ != FAULT) {
            state_ = FAULT;
            fault_channel_ = static_cast<int>(c);
            fault_address_ = address;
        }
    }

    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vspatten> top_;
#ifdef SPATTEN_TRACE
    std::unique_ptr<VerilatedVcdC> trace_;
#endif
    std::vector<ChannelPins> pins_;
    std::vector<std::unique_ptr<MemoryChannel>> channels_;
    std::vector<std::vector<uint32_t>> memory_;
    std::vector<uint64_t> words_read_;
    std::vector<std::vector<uint32_t>> addresses_;  // of the words read, by channel
    bool record_ = false;
    std::vector<char> shown_;  // by channel: the payload pins hold the word that is offered
    Stalls host_;
    Source jobs_, layers_, heads_, ids_;
    std::vector<uint32_t> out_, prob_, status_, survivor_;
    std::vector<uint64_t> status_cycles_;
    size_t expected_ = 0;
    uint64_t window_base_ = 0, window_limit_ = 0;
    uint64_t cycle_ = 0, last_transfer_ = 0, watchdog_ = 0;
    State state_ = RUNNING;
    int fault_channel_ = 0;
    uint64_t fault_address_ = 0;
};

}  // namespace

extern "C" {

void* spatten_new(const char* trace_path, int seed) { return new Simulation(trace_path, seed); }
void spatten_free(void* s) { delete static_cast<Simulation*>(s); }
void spatten_set_ideal(void* s, int channel, uint32_t latency, uint32_t depth, uint64_t threshold, uint64_t seed) {
    static_cast<Simulation*>(s)->set_ideal(channel, latency, depth, threshold, seed);
}

// The table of HBM2Timing in sim/engine/hbm2_timing.py; 0: it has another number of parameters here.
int spatten_set_hbm2(void* s, int channel, const uint32_t* values, uint64_t count) {
    return static_cast<Simulation*>(s)->set_hbm2(channel, values, count);
}
void spatten_record_addresses(void* s, int record) { static_cast<Simulation*>(s)->record_addresses(record); }
void spatten_set_host(void* s, uint64_t threshold, uint64_t seed, uint64_t watchdog) {
    static_cast<Simulation*>(s)->set_host(threshold, seed, watchdog);
}
void spatten_set_memory(void* s, int channel, const uint32_t* words, uint64_t count) {
    static_cast<Simulation*>(s)->set_memory(channel, words, count);
}
void spatten_set_items(void* s, int which, const uint32_t* words, uint64_t count) {
    static_cast<Simulation*>(s)->set_items(which, words, count);
}
void spatten_start(void* s, uint64_t expected, int reset, uint32_t base, uint64_t limit) {
    static_cast<Simulation*>(s)->start(expected, reset, base, limit);
}
int spatten_step(void* s, uint64_t cycles) { return static_cast<Simulation*>(s)->step(cycles); }
void spatten_drain(void* s, uint64_t quiet) { static_cast<Simulation*>(s)->drain(quiet); }
uint64_t spatten_cycle(void* s) { return static_cast<Simulation*>(s)->cycle(); }
uint64_t spatten_answered(void* s) { return static_cast<Simulation*>(s)->status_cycles().size(); }
uint64_t spatten_words_read(void* s, int channel) { return static_cast<Simulation*>(s)->words_read(channel); }

// Of the words read, words_read of them; valid until the next start.
const uint32_t* spatten_addresses(void* s, int channel) { return static_cast<Simulation*>(s)->addresses(channel); }
int spatten_fault_channel(void* s) { return static_cast<Simulation*>(s)->fault_channel(); }
uint64_t spatten_fault_address(void* s) { return static_cast<Simulation*>(s)->fault_address(); }
const uint64_t* spatten_status_cycles(void* s) { return static_cast<Simulation*>(s)->status_cycles().data(); }

// Stream 0: out, 1: prob, 2: status, 3: survivor. Valid until the next start.
uint64_t spatten_stream_words(void* s, int which) { return static_cast<Simulation*>(s)->stream(which).size(); }
const uint32_t* spatten_stream(void* s, int which) { return static_cast<Simulation*>(s)->stream(which).data(); }

// `words` has room for the counters port.
void spatten_counters(void* s, uint32_t* words) {
    const auto counters = static_cast<Simulation*>(s)->counters();
    std::memcpy(words, counters.data(), counters.size() * sizeof(uint32_t));
}
}
