// Harness of a simulated board: bytes to and from the serial pins of a Verilator model, bit by bit; lights.
// The interface to Python is in C, at the end; fpga/board/simulated_board.py uses it.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>

#include "Vspatten.h"
#include "verilated.h"

namespace {

// Bytes to a line of 8 data bits, no parity, 1 stop bit.
class Sender {
public:
    explicit Sender(uint32_t cycles_per_bit) : cycles_per_bit_(cycles_per_bit) {}

    void send(const uint8_t* bytes, size_t count) { bytes_.insert(bytes_.end(), bytes, bytes + count); }
    bool busy() const { return bits_ || !bytes_.empty(); }

    // Level of the line in the next cycle.
    bool level() {
        if (!bits_) {
            if (bytes_.empty()) return true;
            frame_ = bytes_.front() << 1 | 0x200;
            bytes_.pop_front();
            bits_ = 10;
            left_ = cycles_per_bit_;
        }
        const bool level = frame_ & 1;
        if (--left_ == 0) {
            frame_ >>= 1;
            --bits_;
            left_ = cycles_per_bit_;
        }
        return level;
    }

private:
    const uint32_t cycles_per_bit_;
    std::deque<uint8_t> bytes_;
    uint32_t frame_ = 0, bits_ = 0, left_ = 0;
};

// Bytes from such a line, each bit seen in its middle.
class Receiver {
public:
    explicit Receiver(uint32_t cycles_per_bit) : cycles_per_bit_(cycles_per_bit) {}

    void see(bool level) {
        idle_ = level && !bit_ ? idle_ + 1 : 0;
        if (!bit_) {
            if (level) return;
            bit_ = 1;  // the start bit, from its first cycle
            left_ = cycles_per_bit_ / 2;
            return;
        }
        if (--left_) return;
        left_ = cycles_per_bit_;
        if (bit_ == 1 && level) {
            bit_ = 0;  // no start bit
        } else if (bit_ == 10) {
            if (level) bytes_.push_back(static_cast<uint8_t>(frame_));
            else ++bad_;
            bit_ = 0;
        } else {
            if (bit_ > 1) frame_ = frame_ >> 1 | (level ? 0x80 : 0);
            ++bit_;
        }
    }

    size_t take(uint8_t* bytes, size_t room) {
        const size_t count = std::min(room, bytes_.size());
        std::copy_n(bytes_.begin(), count, bytes);
        bytes_.erase(bytes_.begin(), bytes_.begin() + count);
        return count;
    }

    bool any() const { return !bytes_.empty(); }
    uint64_t bad() const { return bad_; }
    // Whether the line has been at rest for two bytes.
    bool quiet() const { return idle_ > 20 * uint64_t(cycles_per_bit_); }

private:
    const uint32_t cycles_per_bit_;
    std::deque<uint8_t> bytes_;
    uint32_t bit_ = 0;  // of the byte: 1 start, 2…9 data, 10 stop; 0: none
    uint32_t left_ = 0, frame_ = 0;
    uint64_t idle_ = 0, bad_ = 0;
};

class Board {
public:
    explicit Board(uint32_t cycles_per_bit)
        : context_(new VerilatedContext), top_(new Vspatten(context_.get())), to_(cycles_per_bit), from_(cycles_per_bit) {
        top_->rx = 1;
        top_->rst = 1;
        for (int i = 0; i < 4; ++i) clock();
        top_->rst = 0;
    }
    ~Board() { top_->final(); }

    // At most `cycles` cycles; fewer if an answer has come and the lines are at rest again, or if the board gets quiet.
    void step(uint64_t cycles) {
        const bool was_quiet = quiet();
        for (; cycles; --cycles) {
            top_->rx = to_.level();
            clock();
            ++cycle_;
            from_.see(top_->tx);
            const bool rest = !to_.busy() && from_.quiet();
            resting_ = rest && top_->idle ? resting_ + 1 : 0;
            if ((rest && from_.any()) || (!was_quiet && quiet())) break;
        }
    }

    Sender& to() { return to_; }
    Receiver& from() { return from_; }
    // For some cycles, since the light is a few cycles late.
    bool quiet() const { return resting_ > 64 && !to_.busy(); }
    uint32_t lights() const { return top_->idle | top_->busy << 1 | top_->error << 2; }
    uint32_t violation() const { return top_->violation; }
    uint64_t cycle() const { return cycle_; }

private:
    void clock() {
        top_->clk = 0;
        top_->eval();
        top_->clk = 1;
        top_->eval();
    }

    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vspatten> top_;
    Sender to_;
    Receiver from_;
    uint64_t cycle_ = 0, resting_ = 0;
};

}  // namespace

extern "C" {

void* board_new(uint32_t cycles_per_bit) { return new Board(cycles_per_bit); }
void board_free(void* b) { delete static_cast<Board*>(b); }
void board_send(void* b, const uint8_t* bytes, uint64_t count) { static_cast<Board*>(b)->to().send(bytes, count); }
void board_step(void* b, uint64_t cycles) { static_cast<Board*>(b)->step(cycles); }
uint64_t board_take(void* b, uint8_t* bytes, uint64_t room) { return static_cast<Board*>(b)->from().take(bytes, room); }
uint32_t board_lights(void* b) { return static_cast<Board*>(b)->lights(); }
uint32_t board_violation(void* b) { return static_cast<Board*>(b)->violation(); }
int board_quiet(void* b) { return static_cast<Board*>(b)->quiet(); }
uint64_t board_bad_bytes(void* b) { return static_cast<Board*>(b)->from().bad(); }
uint64_t board_cycle(void* b) { return static_cast<Board*>(b)->cycle(); }
}
