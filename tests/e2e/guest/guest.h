/* guest.h: a machine of the tests' own, which needs neither a kernel nor a system: it asks for an
 * address by DHCP (or has one), counts up on each disk that it is given, answers as a guest agent,
 * switches off when its button is pressed, and says on the first serial port how it is.
 *
 *   boot.S    into 32 bits      machine.c  ports, time, PCI     virtio.c  queues (virtio 1.0)
 *   disk.c    blk               net.c      net and DHCP         agent.c   console and agent
 *
 * Everything is asked for in turn, a hundred times a second.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the builder of the image writes behind MARK. */
#define GUEST_MARK "GUEST-SAYS-HERE:"
struct guest_word {
    char mark[16];
    char name[32];    /* begins every line */
    char address[16]; /* "dhcp", or one of its own; empty: none */
};
extern const volatile struct guest_word word;

/* machine.c */
extern volatile uint32_t ticks; /* hundredths of seconds */
void machine_start(void);
bool machine_button(void); /* pressed since the last question */
void machine_off(void);
uint8_t in8(uint16_t port);
void out8(uint16_t port, uint8_t v);
void say(const char *text);
uint32_t pci_read(uint32_t device, uint32_t at);
void pci_write(uint32_t device, uint32_t at, uint32_t v);
/* Calls fn for each device there is: `device` is for pci_read. */
void pci_each(void (*fn)(uint32_t device, uint32_t vendor_and_id));
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
size_t text_len(const char *s);
bool text_is(const char *a, const char *b);
/* The place of `part`, NULL: it is not in it. */
const char *text_find(const char *s, const char *part);
/* A text that grows; what has no room is left out. */
struct text {
    char *p;
    size_t len, size;
};
void put(struct text *t, const char *s);
void put_number(struct text *t, uint32_t v);
void put_hex(struct text *t, uint8_t v);
void put_address(struct text *t, const uint8_t a[4]);

/* virtio.c */
enum { RING = 8 };
struct queue {
    volatile struct {
        uint64_t at;
        uint32_t len;
        uint16_t flags, next;
    } desc[RING] __attribute__((aligned(16)));
    volatile struct {
        uint16_t flags, idx, ring[RING], event;
    } avail __attribute__((aligned(4)));
    volatile struct {
        uint16_t flags, idx;
        struct {
            uint32_t id, len;
        } ring[RING];
        uint16_t event;
    } used __attribute__((aligned(4)));
    uint16_t seen, number;
    volatile uint16_t *bell;
};
struct virtio {
    volatile uint8_t *common, *config, *notify;
    uint32_t notify_step;
};
/* Resets it, and takes of its lower features those in `wanted`. */
bool virtio_begin(struct virtio *v, uint32_t device, uint32_t wanted);
void virtio_queue(struct virtio *v, struct queue *q, uint16_t number);
void virtio_ready(struct virtio *v);
/* Buffer n (below RING) for the device: to read, or (`in`) to write into; `more`: n + 1 follows. */
void queue_set(struct queue *q, uint16_t n, const void *p, uint32_t len, bool in, bool more);
void queue_offer(struct queue *q, uint16_t n);
/* A buffer that the device has done with; false: none. */
bool queue_take(struct queue *q, uint16_t *n, uint32_t *len);

/* disk.c: `volume` in what is said; the disk with the boot sector is left alone */
void disk_found(uint32_t device);
void disk_tell(struct text *t);

/* net.c */
void net_found(uint32_t device);
void net_poll(void);
void net_tell(struct text *t);
/* NULL: it has none yet. */
const uint8_t *net_address(void);
const uint8_t *net_mac(void);

/* agent.c */
void agent_found(uint32_t device);
void agent_poll(void);
void agent_tell(struct text *t);

#endif
