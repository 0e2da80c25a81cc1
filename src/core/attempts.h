/* attempts.h: how often a peer may show a wrong token: a bucket of tries that fills again with
 * time.
 *
 * A peer that has used up its tries is refused, right token or wrong, until one has come back;
 * refused tries cost nothing, so knocking on does not make it longer. At most ATTEMPTS_PEERS peers
 * are remembered; the one whose last failure is longest ago is forgotten for a new one. Pure: time
 * is given in, absolute and monotonic.
 */
#ifndef GANTRY_CORE_ATTEMPTS_H
#define GANTRY_CORE_ATTEMPTS_H

#include "base/base.h"

#define ATTEMPTS_PEERS 4096
#define ATTEMPTS_BURST 10
#define ATTEMPTS_PERIOD_MS 60000u /* in which a whole burst comes back */

/* Who a peer is for this purpose: a Unix peer its user, an IPv4 peer its address, an IPv6 peer its
 * /64 (one customer has that many addresses). */
struct attempts_key {
    uint8_t bytes[9];
};
struct attempts_key attempts_key_uid(uid_t uid);
/* 4 or 16 bytes, network order. A v4-mapped IPv6 address is its IPv4 address. */
struct attempts_key attempts_key_address(const uint8_t *address, size_t n);

struct attempts;
struct attempts *attempts_new(void); /* NULL: out of memory. It grows with the peers that fail. */
void attempts_free(struct attempts *a);
/* Milliseconds until the peer may try again; 0: now. */
uint64_t attempts_wait_ms(const struct attempts *a, const struct attempts_key *k, uint64_t now_ms);
/* One more failure. Out of memory: the peer is not remembered (another one may be forgotten for
 * it). */
void attempts_failed(struct attempts *a, const struct attempts_key *k, uint64_t now_ms);
size_t attempts_count(const struct attempts *a); /* peers remembered */

#endif
