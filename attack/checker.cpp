// Runs the Verilated job checker alone: descriptors and lists in, the code of each out. Driven by attack/checker.py.

#include <cstdint>
#include <memory>
#include <type_traits>

#include "Vspatten.h"
#include "verilated.h"

namespace {

template <typename Port>
using port_type = std::remove_reference_t<Port>;

template <typename Port>
constexpr int words_of = (sizeof(Port) + 3) / 4;

template <typename Port>
void store(Port& port, const uint32_t* words) {
    if constexpr (!std::is_integral_v<Port>) {
        for (int i = 0; i < words_of<Port>; ++i) port[i] = words[i];
    } else if constexpr (sizeof(Port) == 8) {
        port = words[0] | static_cast<uint64_t>(words[1]) << 32;
    } else {
        port = static_cast<Port>(words[0]);
    }
}

template <typename Port>
uint32_t low_word(const Port& port) {
    if constexpr (std::is_integral_v<Port>) return static_cast<uint32_t>(port);
    else return port[0];
}

// splitmix64
struct Random {
    uint64_t state;
    uint32_t next() {
        uint64_t z = state += 0x9E3779B97F4A7C15u;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        return static_cast<uint32_t>((z ^ z >> 31) >> 32);
    }
};

constexpr uint64_t WATCHDOG = 5000;

class Bench {
public:
    Bench() : context_(new VerilatedContext), top_(new Vspatten(context_.get())) {}
    ~Bench() { top_->final(); }

    // From reset, with this window: returns how many of the jobs were answered, fewer if nothing moves any more.
    // codes: 0 of an accepted job; 255 of an answer with another number than the low 16 bits of its job.
    // stall: chance in 2**32 that a side waits in a cycle.
    uint64_t run(const uint32_t* jobs, uint64_t count, const uint32_t* ids, uint64_t beats, uint64_t base, uint64_t limit,
                 uint64_t stall, uint64_t seed, uint8_t* codes) {
        Random random{seed};
        reset(base, limit);
        uint64_t job = 0, beat = 0, answered = 0, idle = 0;
        while (answered < count && idle < WATCHDOG) {
            // What is offered stays until it is taken.
            if (!top_->job_valid && job < count && random.next() >= stall) {
                top_->job_valid = 1;
                store(top_->job_payload, jobs + job * words_of<port_type<decltype(top_->job_payload)>>);
            }
            if (!top_->ids_valid && beat < beats && random.next() >= stall) {
                top_->ids_valid = 1;
                store(top_->ids_payload, ids + beat * words_of<port_type<decltype(top_->ids_payload)>>);
            }
            top_->accepted_ready = random.next() >= stall;
            top_->refused_ready = random.next() >= stall;
            top_->id_write_ready = random.next() >= stall;
            eval(false);
            ++idle;
            const bool takes_job = top_->job_valid && top_->job_ready, takes_beat = top_->ids_valid && top_->ids_ready;
            if (top_->accepted_valid && top_->accepted_ready) {
                answer(jobs, answered, low_word(top_->accepted_payload) & 0xFFFF, 0, codes);
                idle = 0;
            }
            if (top_->refused_valid && top_->refused_ready) {
                const uint32_t status = low_word(top_->refused_payload);
                answer(jobs, answered, status & 0xFFFF, status >> 16, codes);
                idle = 0;
            }
            eval(true);
            if (takes_job) top_->job_valid = 0, ++job, idle = 0;
            if (takes_beat) top_->ids_valid = 0, ++beat, idle = 0;
        }
        return answered;
    }

private:
    void reset(uint64_t base, uint64_t limit) {
        top_->window_base = static_cast<port_type<decltype(top_->window_base)>>(base);
        top_->window_limit = static_cast<port_type<decltype(top_->window_limit)>>(limit);
        top_->job_valid = top_->ids_valid = 0;
        top_->accepted_ready = top_->refused_ready = top_->id_write_ready = 0;
        top_->list_free = 3;
        top_->rst = 1;
        eval(false);
        eval(true);
        top_->rst = 0;
    }

    void answer(const uint32_t* jobs, uint64_t& answered, uint32_t number, uint32_t code, uint8_t* codes) {
        const uint32_t mine = jobs[answered * words_of<port_type<decltype(top_->job_payload)>>] & 0xFFFF;
        codes[answered++] = number == mine ? static_cast<uint8_t>(code) : 255;
    }

    void eval(bool clk) {
        top_->clk = clk;
        top_->eval();
        context_->timeInc(1);
    }

    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vspatten> top_;
};

}  // namespace

extern "C" {

void* checker_new() { return new Bench; }
void checker_free(void* bench) { delete static_cast<Bench*>(bench); }
uint64_t checker_run(void* bench, const uint32_t* jobs, uint64_t count, const uint32_t* ids, uint64_t beats, uint64_t base,
                     uint64_t limit, uint64_t stall, uint64_t seed, uint8_t* codes) {
    return static_cast<Bench*>(bench)->run(jobs, count, ids, beats, base, limit, stall, seed, codes);
}
}
