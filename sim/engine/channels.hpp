// What the harnesses share: ports as 32-bit words, random stalls, and the memory channel of fixed latency.

#pragma once

#include <cstdint>
#include <deque>
#include <type_traits>
#include <vector>

#include "hbm2.hpp"

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
void append(std::vector<uint32_t>& items, const Port& port) {
    if constexpr (!std::is_integral_v<Port>) {
        for (int i = 0; i < words_of<Port>; ++i) items.push_back(port[i]);
    } else {
        items.push_back(static_cast<uint32_t>(port));
        if constexpr (sizeof(Port) == 8) items.push_back(static_cast<uint32_t>(static_cast<uint64_t>(port) >> 32));
    }
}

// sim/engine/timing.py has the same function: both engines stall in the same cycles.
inline uint64_t mix(uint64_t seed, uint64_t salt, uint64_t cycle) {
    uint64_t z = seed * 0x9E3779B97F4A7C15u + salt * 0xD1B54A32D192ED03u + cycle * 0x8CB92BA72F3D8DD7u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

struct Stalls {
    uint64_t seed = 0;
    uint64_t threshold = 0;  // stall chance times 2**32

    bool willing(uint64_t salt, uint64_t cycle) const {
        return threshold == 0 || mix(seed, salt, cycle) >> 32 >= threshold;
    }
};

// sim/engine/timing.py has the same numbers.
enum Salt : uint64_t {
    SALT_JOB, SALT_ID, SALT_STATUS, SALT_OUT, SALT_PROB, SALT_SKEW, SALT_LAYER, SALT_HEAD, SALT_SURVIVOR, SALT_CHANNEL
};

// Fixed latency, a word each cycle, random stalls.
class IdealChannel final : public MemoryChannel {
public:
    struct Timing {
        uint32_t latency;
        uint32_t depth;
        Stalls stalls;
        uint64_t salt;
    };

    explicit IdealChannel(const Timing& timing) : timing_(timing) {}

    bool takes_request(uint64_t cycle) override {
        return pending_.size() < timing_.depth && timing_.stalls.willing(timing_.salt, cycle);
    }
    bool offers_response(uint64_t cycle) override {
        if (!offered_ && !pending_.empty() && pending_.front().due <= cycle) {
            offered_ = timing_.stalls.willing(timing_.salt + 1, cycle);
        }
        return offered_;
    }
    uint64_t response_address() const override { return pending_.front().address; }

    void request(uint64_t cycle, uint64_t address, bool) override {
        pending_.push_back({address, cycle + timing_.latency});
    }
    void response_taken() override {
        pending_.pop_front();
        offered_ = false;
    }

private:
    struct Pending {
        uint64_t address;
        uint64_t due;
    };
    Timing timing_;
    std::deque<Pending> pending_;
    bool offered_ = false;
};
