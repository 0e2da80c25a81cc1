/* Devices and queues of virtio 1.0 over PCI (OASIS virtio 1.1, 2.6 and 4.1). */
#include "guest.h"

enum { COMMON = 1, NOTIFY = 2, CONFIG = 4, CAPS = 48 };
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };

static volatile uint8_t *area(uint32_t device, uint32_t cap)
{
    uint32_t bar = pci_read(device, cap + 4) & 255;
    uint32_t at = pci_read(device, 0x10 + 4 * bar) & ~15u;
    return (volatile uint8_t *)(uintptr_t)(at + pci_read(device, cap + 8));
}

static void write8(struct virtio *v, uint32_t at, uint8_t value)
{
    v->common[at] = value;
}

static void write16(struct virtio *v, uint32_t at, uint16_t value)
{
    *(volatile uint16_t *)(uintptr_t)(v->common + at) = value;
}

static uint16_t read16(struct virtio *v, uint32_t at)
{
    return *(volatile uint16_t *)(uintptr_t)(v->common + at);
}

static void write32(struct virtio *v, uint32_t at, uint32_t value)
{
    *(volatile uint32_t *)(uintptr_t)(v->common + at) = value;
}

static void find_areas(struct virtio *v, uint32_t device)
{
    uint32_t cap = pci_read(device, 0x34) & 0xfc;
    for (int i = 0; cap != 0 && i < CAPS; i++, cap = pci_read(device, cap + 1) & 0xfc) {
        uint32_t kind = pci_read(device, cap + 3) & 255;
        if ((pci_read(device, cap) & 255) != 9)
            continue;
        if (kind == COMMON && v->common == NULL)
            v->common = area(device, cap);
        if (kind == CONFIG && v->config == NULL)
            v->config = area(device, cap);
        if (kind == NOTIFY && v->notify == NULL) {
            v->notify = area(device, cap);
            v->notify_step = pci_read(device, cap + 16);
        }
    }
}

bool virtio_begin(struct virtio *v, uint32_t device, uint32_t wanted)
{
    *v = (struct virtio){0};
    pci_write(device, 4, pci_read(device, 4) | 6); /* its memory, and reading ours */
    find_areas(v, device);
    if (v->common == NULL || v->notify == NULL)
        return false;
    write8(v, 20, 0);
    write8(v, 20, ACKNOWLEDGE);
    write8(v, 20, ACKNOWLEDGE | DRIVER);
    write32(v, 8, 0);
    write32(v, 12, wanted);
    write32(v, 8, 1);
    write32(v, 12, 1); /* version 1 */
    write8(v, 20, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    return (v->common[20] & FEATURES_OK) != 0;
}

void virtio_queue(struct virtio *v, struct queue *q, uint16_t number)
{
    const void *const parts[] = {(const void *)(uintptr_t)q->desc,
                                 (const void *)(uintptr_t)&q->avail,
                                 (const void *)(uintptr_t)&q->used};
    q->number = number;
    write16(v, 22, number);
    write16(v, 24, RING);
    for (uint32_t i = 0; i < 3; i++) {
        write32(v, 32 + 8 * i, (uint32_t)(uintptr_t)parts[i]);
        write32(v, 36 + 8 * i, 0);
    }
    q->bell = (volatile uint16_t *)(uintptr_t)(v->notify + read16(v, 30) * v->notify_step);
    write16(v, 28, 1);
}

void virtio_ready(struct virtio *v)
{
    write8(v, 20, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

void queue_set(struct queue *q, uint16_t n, const void *p, uint32_t len, bool in, bool more)
{
    q->desc[n].at = (uintptr_t)p;
    q->desc[n].len = len;
    q->desc[n].flags = (uint16_t)((in ? 2 : 0) | (more ? 1 : 0));
    q->desc[n].next = (uint16_t)(n + 1);
}

void queue_offer(struct queue *q, uint16_t n)
{
    q->avail.ring[q->avail.idx % RING] = n;
    __sync_synchronize();
    q->avail.idx++;
    __sync_synchronize();
    *q->bell = q->number;
}

bool queue_take(struct queue *q, uint16_t *n, uint32_t *len)
{
    __sync_synchronize();
    if (q->seen == q->used.idx)
        return false;
    *n = (uint16_t)q->used.ring[q->seen % RING].id;
    *len = q->used.ring[q->seen % RING].len;
    q->seen++;
    return true;
}
