// Dropout with the masks that the CPU draws (Srivastava et al. 2014): ChaCha with 8 rounds, a stream per run of
// `stream` numbers, one word of it per number.
#include "dash.h"

DEVICE unsigned rotate(unsigned x, int by) { return x << by | x >> (32 - by); }

DEVICE void quarter(unsigned* s, int a, int b, int c, int d) {
    s[a] += s[b]; s[d] = rotate(s[d] ^ s[a], 16);
    s[c] += s[d]; s[b] = rotate(s[b] ^ s[c], 12);
    s[a] += s[b]; s[d] = rotate(s[d] ^ s[a], 8);
    s[c] += s[d]; s[b] = rotate(s[b] ^ s[c], 7);
}

// y = x * scale where the word drawn is not below the threshold, else 0. k0 to k7: the words of the generator's key. A
// thread takes the 16 numbers of a block of the generator; stream is a multiple of 16.
KERNEL dropout(const float* x, float* y, long long count, int stream, int k0, int k1, int k2, int k3, int k4, int k5,
               int k6, int k7, int threshold, double scale) {
    const int key[8] = {k0, k1, k2, k3, k4, k5, k6, k7};
    for (long long block = THREAD; block * 16 < count; block += THREADS) {
        long long first = block * 16;
        unsigned long long nonce = first / stream, counter = first % stream / 16;
        unsigned start[16] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u};
        for (int i = 0; i < 8; i++) start[4 + i] = (unsigned)key[i];
        start[12] = (unsigned)counter;
        start[13] = (unsigned)(counter >> 32);
        start[14] = (unsigned)nonce;
        start[15] = (unsigned)(nonce >> 32);
        unsigned s[16];
        for (int i = 0; i < 16; i++) s[i] = start[i];
        for (int round = 0; round < 4; round++) {
            quarter(s, 0, 4, 8, 12);
            quarter(s, 1, 5, 9, 13);
            quarter(s, 2, 6, 10, 14);
            quarter(s, 3, 7, 11, 15);
            quarter(s, 0, 5, 10, 15);
            quarter(s, 1, 6, 11, 12);
            quarter(s, 2, 7, 8, 13);
            quarter(s, 3, 4, 9, 14);
        }
        for (int i = 0; i < 16 && first + i < count; i++) {
            bool kept = s[i] + start[i] >= (unsigned)threshold;
            y[first + i] = kept ? x[first + i] * (float)scale : 0.0f;
        }
    }
}
EMULATED(dropout)
