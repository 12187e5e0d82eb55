// A memory on AXI4: answers reads and writes of bursts, and tells the first breach of the protocol.

#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "../channels.hpp"

// Bytes of the host, shared with it.
struct HostBytes {
    uint8_t* bytes = nullptr;
    uint64_t base = 0, size = 0;

    bool holds(uint64_t address, uint64_t count) const {
        return address >= base && address - base <= size && count <= size - (address - base);
    }
    uint8_t* at(uint64_t address) const { return bytes + (address - base); }
};

// The first breach stands.
struct Breach {
    std::string text;

    void tell(const std::string& bus, const std::string& what) {
        if (text.empty()) text = bus + ": " + what;
    }
};

inline std::string hexadecimal(uint64_t value) {
    char digits[20];
    std::snprintf(digits, sizeof digits, "0x%llx", static_cast<unsigned long long>(value));
    return digits;
}

// What a channel of the bus shows must stay until it is taken.
class Held {
public:
    // False: it was shown before and not taken, and now it is gone or something else.
    bool check(bool valid, bool ready, const std::vector<uint32_t>& shown) {
        const bool kept = !waits_ || (valid && shown == shown_);
        waits_ = valid && !ready;
        if (waits_) shown_ = shown;
        return kept;
    }

private:
    bool waits_ = false;
    std::vector<uint32_t> shown_;
};

template <typename Address>
struct RequestPins {
    CData *valid, *ready, *id, *length, *size, *burst, *cache, *protection;
    Address* address;
};

// Requests of bursts, checked.
template <typename Address>
class Requests {
public:
    Requests(const RequestPins<Address>& pins, std::string bus, uint32_t word_bytes)
        : pins_(pins), bus_(std::move(bus)), word_bytes_(word_bytes) {}

    void offer(bool ready) { *pins_.ready = ready; }

    // A burst was taken; its first address and its beats are in `address` and `beats`.
    bool take(const HostBytes& memory, Breach& breach) {
        std::vector<uint32_t> shown;
        if (*pins_.valid) {
            append(shown, *pins_.address);
            for (const CData* part : {pins_.id, pins_.length, pins_.size, pins_.burst, pins_.cache, pins_.protection}) {
                shown.push_back(*part);
            }
        }
        if (!held_.check(*pins_.valid, *pins_.ready, shown)) breach.tell(bus_, "a request changed before it was taken");
        if (!*pins_.valid || !*pins_.ready) return false;
        address = *pins_.address;
        beats = *pins_.length + 1u;
        const uint64_t bytes = uint64_t(beats) * word_bytes_;
        const std::string where = " at " + hexadecimal(address);
        if (1u << *pins_.size != word_bytes_) breach.tell(bus_, "AxSIZE is not that of a word" + where);
        if (*pins_.burst != 1) breach.tell(bus_, "AxBURST is not INCR" + where);
        if (address % word_bytes_) breach.tell(bus_, "an address is not aligned to words" + where);
        if (address / PAGE != (address + bytes - 1) / PAGE) breach.tell(bus_, "a burst crosses 4 KiB" + where);
        if (memory.holds(address, bytes)) return true;
        breach.tell(bus_, "a burst of " + std::to_string(beats) + " beats lies outside the memory" + where);
        return false;
    }

    uint64_t address = 0;
    uint32_t beats = 0;

private:
    static constexpr uint64_t PAGE = 4096;
    RequestPins<Address> pins_;
    std::string bus_;
    uint32_t word_bytes_;
    Held held_;
};

template <typename Address, typename Data>
struct ReadPins {
    RequestPins<Address> request;
    CData *valid, *ready, *id, *last, *response;
    Data* data;
};

// Reads: the words of the bursts go one after the other through a MemoryChannel, which has the timing.
template <typename Address, typename Data>
class ReadResponder {
public:
    ReadResponder(const ReadPins<Address, Data>& pins, std::string bus)
        : pins_(pins), requests_(pins.request, std::move(bus), sizeof(Data)) {}

    // outstanding: most bursts whose last beat is not taken.
    void configure(std::unique_ptr<MemoryChannel> channel, const Stalls& stalls, uint64_t salt, uint32_t outstanding) {
        channel_ = std::move(channel);
        stalls_ = stalls;
        salt_ = salt;
        outstanding_ = outstanding;
    }
    // Address of the channel's word 0.
    void set_origin(uint64_t origin) { origin_ = origin; }
    void record(bool addresses) { record_ = addresses; }
    void begin() {
        words = 0;
        addresses.clear();
    }

    void drive(uint64_t cycle, const HostBytes& memory) {
        channel_->advance(cycle);
        issues_ = channel_->takes_request(cycle);
        requests_.offer(open_ < outstanding_ && stalls_.willing(salt_, cycle));
        const bool offers = channel_->offers_response(cycle);
        if (offers && !shown_) {
            std::memcpy(pins_.data, memory.at(origin_ + channel_->response_address() * sizeof(Data)), sizeof(Data));
            *pins_.last = lasts_.front();
        }
        shown_ = offers;
        *pins_.valid = offers;
        *pins_.id = *pins_.response = 0;
    }

    // Whether something moved.
    bool observe(uint64_t cycle, const HostBytes& memory, Breach& breach) {
        bool moved = false;
        if (*pins_.valid && *pins_.ready) {
            channel_->response_taken();
            open_ -= lasts_.front();
            lasts_.pop_front();
            shown_ = false;  // the next beat is a new word
            ++words;
            moved = true;
        }
        if (requests_.take(memory, breach)) {
            bursts_.push_back({(requests_.address - origin_) / sizeof(Data), requests_.beats});
            ++open_;
            moved = true;
        }
        if (issues_ && !bursts_.empty()) issue(cycle);
        return moved;
    }

    uint64_t words = 0;               // taken
    std::vector<uint32_t> addresses;  // of the words asked for, from the origin

private:
    void issue(uint64_t cycle) {
        Burst& burst = bursts_.front();
        channel_->request(cycle, burst.word, false);
        if (record_) addresses.push_back(static_cast<uint32_t>(burst.word));
        ++burst.word;
        lasts_.push_back(--burst.beats == 0);
        if (burst.beats == 0) bursts_.pop_front();
    }

    struct Burst {
        uint64_t word;
        uint32_t beats;
    };
    ReadPins<Address, Data> pins_;
    Requests<Address> requests_;
    std::unique_ptr<MemoryChannel> channel_;
    Stalls stalls_;
    uint64_t salt_ = 0, origin_ = 0;
    uint32_t outstanding_ = 1, open_ = 0;
    std::deque<Burst> bursts_;  // not asked for in full
    std::deque<bool> lasts_;    // of each word on its way
    bool issues_ = false, shown_ = false, record_ = false;
};

template <typename Address, typename Data, typename Strobe>
struct WritePins {
    RequestPins<Address> request;
    CData *valid, *ready, *last, *response_valid, *response_ready, *response_id, *response;
    Data* data;
    Strobe* strobe;
};

// Writes: a burst is in memory in the cycle in which its response is offered, and not before.
template <typename Address, typename Data, typename Strobe>
class WriteResponder {
public:
    WriteResponder(const WritePins<Address, Data, Strobe>& pins, const std::string& bus)
        : pins_(pins), bus_(bus), requests_(pins.request, bus, sizeof(Data)) {}

    void configure(uint32_t latency, const Stalls& stalls, uint64_t salt, uint32_t outstanding) {
        latency_ = latency;
        stalls_ = stalls;
        salt_ = salt;
        outstanding_ = outstanding;
    }

    void drive(uint64_t cycle, const HostBytes& memory) {
        requests_.offer(bursts_.size() + done_.size() < outstanding_ && stalls_.willing(salt_, cycle));
        *pins_.ready = beats_.size() < BEATS && stalls_.willing(salt_ + 1, cycle);
        if (!offered_ && !done_.empty() && done_.front().due <= cycle && stalls_.willing(salt_ + 2, cycle)) {
            offered_ = true;
            commit(done_.front(), memory);
        }
        *pins_.response_valid = offered_;
        *pins_.response_id = *pins_.response = 0;
    }

    bool observe(uint64_t cycle, const HostBytes& memory, Breach& breach) {
        bool moved = false;
        if (*pins_.response_valid && *pins_.response_ready) {
            done_.pop_front();
            offered_ = false;
            moved = true;
        }
        if (requests_.take(memory, breach)) {
            bursts_.push_back({requests_.address, requests_.beats, 0, {}});
            moved = true;
        }
        moved |= take_beat(breach);
        while (!bursts_.empty() && !beats_.empty()) join(cycle, breach);
        return moved;
    }

private:
    static constexpr size_t BEATS = 64;  // that may come before their request
    struct Beat {
        std::vector<uint32_t> words;
        uint64_t strobe;
        bool last;
    };
    struct Burst {
        uint64_t address;
        uint32_t beats;
        uint64_t due;
        std::vector<Beat> taken;
    };

    bool take_beat(Breach& breach) {
        std::vector<uint32_t> shown;
        if (*pins_.valid) {
            append(shown, *pins_.data);
            append(shown, *pins_.strobe);
            shown.push_back(*pins_.last);
        }
        if (!held_.check(*pins_.valid, *pins_.ready, shown)) breach.tell(bus_, "a beat changed before it was taken");
        if (!*pins_.valid || !*pins_.ready) return false;
        beats_.push_back({std::move(shown), static_cast<uint64_t>(*pins_.strobe), *pins_.last != 0});
        return true;
    }

    // A beat to the burst that it belongs to.
    void join(uint64_t cycle, Breach& breach) {
        Burst& burst = bursts_.front();
        burst.taken.push_back(std::move(beats_.front()));
        beats_.pop_front();
        const bool full = burst.taken.size() == burst.beats;
        if (burst.taken.back().last != full) breach.tell(bus_, "WLAST is wrong at " + hexadecimal(burst.address));
        if (!full) return;
        burst.due = cycle + latency_;
        done_.push_back(std::move(burst));
        bursts_.pop_front();
    }

    static void commit(const Burst& burst, const HostBytes& memory) {
        uint8_t* to = memory.at(burst.address);
        for (const Beat& beat : burst.taken) {
            for (size_t i = 0; i < sizeof(Data); ++i) {
                if (beat.strobe >> i & 1) to[i] = static_cast<uint8_t>(beat.words[i / 4] >> 8 * (i % 4));
            }
            to += sizeof(Data);
        }
    }

    WritePins<Address, Data, Strobe> pins_;
    std::string bus_;
    Requests<Address> requests_;
    Held held_;
    uint32_t latency_ = 1, outstanding_ = 1;
    Stalls stalls_;
    uint64_t salt_ = 0;
    std::deque<Beat> beats_;   // whose request has not come
    std::deque<Burst> bursts_, done_;
    bool offered_ = false;
};
