// Timing of one HBM2 channel, cycle for cycle equal to HBM2Channel in sim/engine/hbm2.py; docs/memory.md has the rules.

#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

// One memory channel: decides in which cycle a request is taken and a response given. Responses come in the order of
// the requests, and an offered response stays until it is taken.
class MemoryChannel {
public:
    virtual ~MemoryChannel() = default;

    // Called once a cycle, in this order, before the edge.
    virtual void advance(uint64_t) {}
    virtual bool takes_request(uint64_t cycle) = 0;
    virtual bool offers_response(uint64_t cycle) = 0;
    virtual uint64_t response_address() const = 0;

    // Told at the edge.
    virtual void request(uint64_t cycle, uint64_t address, bool write) = 0;
    virtual void response_taken() = 0;
};

namespace hbm2 {

// The table of sim/engine/hbm2_timing.py, in its order.
struct Timing {
    uint32_t pseudo_channels, bank_groups, banks, page_bytes, burst_bytes, group_interleave;
    uint32_t tBL, tCL, tCWL, tRCDRD, tRCDWR, tRP, tRAS, tRC, tRTP, tWR, tCCDS, tCCDL, tRRDS, tRRDL, tFAW;
    uint32_t tWTRS, tWTRL, tRTW, tRFC, tREFI;
    uint32_t act_cycles, queue, frontend, backend, refresh_stagger;

    static constexpr size_t count = 31;

    // False: `size` is not that of the table.
    bool assign(const uint32_t* values, size_t size) {
        static_assert(sizeof(Timing) == count * sizeof(uint32_t));
        if (size != count) return false;
        std::memcpy(this, values, sizeof(Timing));
        return true;
    }
};

enum Command { ACT, PRE, RD, WR };

class Channel final : public MemoryChannel {
public:
    Channel(const Timing& timing, uint32_t channel, uint32_t word_bytes)
        : timing_(timing), word_bytes_(word_bytes), pseudo_banks_(timing.bank_groups * timing.banks),
          open_(timing.pseudo_channels * pseudo_banks_, -1), pseudo_(timing.pseudo_channels),
          done_(timing.queue, NEVER) {
        for (auto& ready : ready_) ready.assign(open_.size(), 0);
        for (auto& pseudo : pseudo_) {
            pseudo.activations.fill(-int64_t(timing.tFAW));
            pseudo.refresh_due = timing.tREFI - uint64_t(channel) * timing.refresh_stagger % timing.tREFI;
        }
        make_gaps();
    }

    void advance(uint64_t cycle) override {
        if (int64_t(cycle) >= wake_) give_commands(cycle);
    }
    bool takes_request(uint64_t) override { return pending_.size() < timing_.queue; }
    bool offers_response(uint64_t cycle) override {
        return !pending_.empty() && pending_.front().first <= int64_t(cycle) &&
               done_[pending_.front().burst] <= int64_t(cycle);
    }
    uint64_t response_address() const override { return pending_.front().address; }
    void response_taken() override { pending_.pop_front(); }

    void request(uint64_t cycle, uint64_t address, bool write) override {
        const uint64_t number = address * word_bytes_ / timing_.burst_bytes;
        const Command kind = write ? WR : RD;
        const int64_t arrival = cycle + timing_.frontend;
        if (number != last_number_ || kind != last_kind_) {
            last_number_ = number;
            last_kind_ = kind;
            // The place of a burst that is answered: fewer than `queue` are in flight, and they are the last ones.
            last_burst_ = (last_burst_ + 1) % done_.size();
            done_[last_burst_] = NEVER;
            enqueue(number, kind, arrival);
        }
        pending_.push_back({address, arrival + timing_.backend, last_burst_});
    }

private:
    static constexpr int64_t NEVER = int64_t(1) << 62;

    struct Pending {
        uint64_t address;
        int64_t first;  // possible response
        size_t burst;   // place in done_
    };
    struct Waiting {
        int64_t arrival;
        int64_t row;
        uint32_t bank;
        Command kind;
        size_t burst;
    };
    struct PseudoChannel {
        std::array<int64_t, 4> activations;  // last four, the oldest at next_activation
        size_t next_activation = 0;
        int64_t refresh_due;
    };

    // Least gaps to a later command: to any bank, to one of the group, to the same one.
    struct Gaps {
        int64_t any = 0, group = 0, same = 0;
    };

    void make_gaps() {
        const Timing& t = timing_;
        const int64_t near = std::max(t.tCCDS, t.tBL), far = t.tCCDL;
        const int64_t written = t.tCWL + t.tBL;
        gaps_[ACT][ACT] = {.any = t.tRRDS, .group = t.tRRDL, .same = t.tRC};
        gaps_[ACT][PRE] = {.same = t.tRAS};
        gaps_[ACT][RD] = {.same = t.tRCDRD};
        gaps_[ACT][WR] = {.same = t.tRCDWR};
        gaps_[PRE][ACT] = {.same = t.tRP};
        gaps_[RD][PRE] = {.same = t.tRTP};
        gaps_[RD][RD] = gaps_[WR][WR] = {.any = near, .group = far};
        gaps_[RD][WR] = {.any = t.tRTW};
        gaps_[WR][PRE] = {.same = written + t.tWR};
        gaps_[WR][RD] = {.any = written + t.tWTRS, .group = written + t.tWTRL};
    }

    void enqueue(uint64_t number, Command kind, int64_t arrival) {
        const Timing& t = timing_;
        uint64_t rest = number / t.pseudo_channels / t.group_interleave;
        const uint32_t group = number % t.pseudo_channels * t.bank_groups + rest % t.bank_groups;
        rest = rest / t.bank_groups / (t.page_bytes / (t.burst_bytes * t.group_interleave));
        const uint32_t bank = group * t.banks + rest % t.banks;
        waiting_.push_back({arrival, int64_t(rest / t.banks), bank, kind, last_burst_});
        wake_at(arrival);
    }

    void wake_at(int64_t cycle) { wake_ = std::min(wake_, cycle); }

    void give_commands(int64_t cycle) {
        wake_ = NEVER;
        for (size_t i = 0; i < pseudo_.size(); ++i) {
            if (pseudo_[i].refresh_due <= cycle) refresh(i, cycle);
        }
        size_t arrived = waiting_.size();
        while (arrived && waiting_[arrived - 1].arrival > cycle) --arrived;
        if (arrived < waiting_.size()) wake_at(waiting_[arrived].arrival);
        arrived -= column_command(cycle, arrived);
        if (cycle < row_free_) {
            wake_at(row_free_);
        } else {
            row_command(cycle, arrived);
        }
    }

    // Give a command whose last cycle on the bus is `cycle`.
    void give(Command command, int64_t cycle, uint32_t bank) {
        const uint32_t pseudo = bank / pseudo_banks_ * pseudo_banks_;
        const uint32_t group = bank / timing_.banks * timing_.banks;
        const auto at_least = [](int64_t& value, int64_t least) { value = std::max(value, least); };
        for (int later = ACT; later <= WR; ++later) {
            int64_t* ready = ready_[later].data();
            const Gaps& gaps = gaps_[command][later];
            if (gaps.any) {
                for (uint32_t b = pseudo; b < pseudo + pseudo_banks_; ++b) at_least(ready[b], cycle + gaps.any);
            }
            if (gaps.group) {
                for (uint32_t b = group; b < group + timing_.banks; ++b) at_least(ready[b], cycle + gaps.group);
            }
            if (gaps.same) at_least(ready[bank], cycle + gaps.same);
        }
        wake_at(cycle + 1);
    }

    void refresh(size_t index, int64_t cycle) {
        PseudoChannel& pseudo = pseudo_[index];
        const size_t first = index * pseudo_banks_, end = first + pseudo_banks_;
        auto& ready = ready_[ACT];
        for (; pseudo.refresh_due <= cycle; pseudo.refresh_due += timing_.tREFI) {
            int64_t start = pseudo.refresh_due;
            bool opened = false;
            for (size_t b = first; b < end; ++b) {
                if (open_[b] < 0) continue;
                opened = true;
                start = std::max(start, ready_[PRE][b]);
            }
            if (opened) start += timing_.tRP;
            start = std::max(start, *std::max_element(ready.begin() + first, ready.begin() + end));
            std::fill(open_.begin() + first, open_.begin() + end, -1);
            std::fill(ready.begin() + first, ready.begin() + end, start + timing_.tRFC);
        }
    }

    bool column_command(int64_t cycle, size_t arrived) {
        for (size_t i = 0; i < arrived; ++i) {
            const Waiting waiting = waiting_[i];
            if (open_[waiting.bank] != waiting.row) continue;
            const int64_t ready = ready_[waiting.kind][waiting.bank];
            if (ready <= cycle) {
                waiting_.erase(waiting_.begin() + i);
                give(waiting.kind, cycle, waiting.bank);
                const uint32_t latency = waiting.kind == RD ? timing_.tCL : timing_.tCWL;
                done_[waiting.burst] = cycle + latency + timing_.tBL + timing_.backend;
                return true;
            }
            wake_at(ready);
        }
        return false;
    }

    void row_command(int64_t cycle, size_t arrived) {
        uint64_t skipped = 0;  // banks whose open row is waited for, or that had their turn
        for (size_t i = 0; i < arrived; ++i) {
            const Waiting& waiting = waiting_[i];
            skipped |= uint64_t(open_[waiting.bank] == waiting.row) << waiting.bank;
        }
        for (size_t i = 0; i < arrived; ++i) {
            const uint32_t bank = waiting_[i].bank;
            if (skipped >> bank & 1) continue;
            skipped |= uint64_t(1) << bank;
            PseudoChannel& pseudo = pseudo_[bank / pseudo_banks_];
            const bool closed = open_[bank] < 0;
            int64_t ready = ready_[closed ? ACT : PRE][bank];
            if (closed) {
                const int64_t window = pseudo.activations[pseudo.next_activation] + timing_.tFAW;
                ready = std::max(ready, window) - (timing_.act_cycles - 1);
            }
            if (ready > cycle) {
                wake_at(ready);
                continue;
            }
            row_free_ = cycle + (closed ? timing_.act_cycles : 1);
            if (closed) {
                pseudo.activations[pseudo.next_activation] = row_free_ - 1;
                pseudo.next_activation = (pseudo.next_activation + 1) % pseudo.activations.size();
            }
            give(closed ? ACT : PRE, row_free_ - 1, bank);
            open_[bank] = closed ? waiting_[i].row : -1;
            return;
        }
    }

    Timing timing_;
    uint32_t word_bytes_, pseudo_banks_;
    std::array<std::array<Gaps, 4>, 4> gaps_;   // by command and later command
    std::vector<Waiting> waiting_;              // oldest first
    std::vector<int64_t> open_;                 // row by bank, -1: none
    std::array<std::vector<int64_t>, 4> ready_; // by command and bank: first cycle that the commands so far allow
    std::vector<PseudoChannel> pseudo_;
    std::deque<Pending> pending_;
    std::vector<int64_t> done_;  // ring of the bursts in flight: first possible response
    size_t last_burst_ = 0;
    uint64_t last_number_ = ~uint64_t(0);
    Command last_kind_ = ACT;  // no request yet
    int64_t row_free_ = 0;
    int64_t wake_ = NEVER;  // nothing happens before this cycle
};

}  // namespace hbm2
