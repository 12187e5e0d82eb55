// C interface of the HBM2 channel alone, for sim/engine/hbm2_native.py.

#include "hbm2.hpp"

extern "C" {

// Null: the table has another number of parameters.
void* hbm2_new(const uint32_t* values, uint32_t count, uint32_t channel, uint32_t word_bytes) {
    hbm2::Timing timing;
    return timing.assign(values, count) ? new hbm2::Channel(timing, channel, word_bytes) : nullptr;
}
void hbm2_free(void* c) { delete static_cast<hbm2::Channel*>(c); }
void hbm2_advance(void* c, uint64_t cycle) { static_cast<hbm2::Channel*>(c)->advance(cycle); }
int hbm2_takes_request(void* c, uint64_t cycle) { return static_cast<hbm2::Channel*>(c)->takes_request(cycle); }
int hbm2_offers_response(void* c, uint64_t cycle) { return static_cast<hbm2::Channel*>(c)->offers_response(cycle); }
uint64_t hbm2_response_address(void* c) { return static_cast<hbm2::Channel*>(c)->response_address(); }
void hbm2_response_taken(void* c) { static_cast<hbm2::Channel*>(c)->response_taken(); }
void hbm2_request(void* c, uint64_t cycle, uint64_t address, int write) {
    static_cast<hbm2::Channel*>(c)->request(cycle, address, write);
}

// Cycles until all words are read, if requests are always offered and responses always taken.
uint64_t hbm2_drive(void* c, const uint32_t* addresses, uint64_t count) {
    auto& channel = *static_cast<hbm2::Channel*>(c);
    uint64_t cycle = 0;
    for (uint64_t sent = 0, answered = 0; answered < count; ++cycle) {
        channel.advance(cycle);
        const bool takes = sent < count && channel.takes_request(cycle);
        if (channel.offers_response(cycle)) {
            channel.response_taken();
            ++answered;
        }
        if (takes) channel.request(cycle, addresses[sent++], false);
    }
    return cycle;
}
}
