// Runs the SoC of soc.py, compiled by Verilator, and takes what its UART sends.
#include <cstdint>
#include <memory>

#include "Vspatten.h"

namespace {
constexpr int kReset = 16;           // cycles
constexpr uint8_t kEndOfText = 4;    // the firmware has nothing more to say
}  // namespace

// Up to `room` bytes of text, without the byte that ends it; their number in `length`, that of cycles in `cycles`.
// 0: the text has ended, 1: it has not after `most` cycles, 2: there is no room.
extern "C" int litex_run(uint64_t most, char* text, uint64_t room, uint64_t* length, uint64_t* cycles) {
    const auto context = std::make_unique<VerilatedContext>();
    const auto soc = std::make_unique<Vspatten>(context.get());
    *length = 0;
    soc->serial_source_ready = 1;
    soc->serial_sink_valid = 0;
    for (*cycles = 0; *cycles < most; ++*cycles) {
        soc->sys_rst = *cycles < kReset;
        soc->sys_clk = 0;
        soc->eval();
        const bool sent = soc->serial_source_valid && !soc->sys_rst;
        const uint8_t byte = soc->serial_source_data;
        soc->sys_clk = 1;
        soc->eval();
        if (!sent) continue;
        if (byte == kEndOfText) return 0;
        if (*length == room) return 2;
        text[(*length)++] = static_cast<char>(byte);
    }
    return 1;
}
