/* Disks that are not booted from: a number in the first sector, counted up once at each start. */
#include "guest.h"

enum { SECTOR = 512, DISKS = 4, READ = 0, WRITE = 1, FLUSH = 4, WAIT = 500 };

static const char magic[] = "GUEST-COUNTS";
static struct {
    struct virtio v;
    struct queue q;
    uint32_t had, has;
    const char *trouble; /* NULL: none */
} disks[DISKS];
static size_t n_disks;

/* False: it failed, or was not answered in time. */
static bool ask(size_t d, uint32_t what, void *sector)
{
    struct queue *q = &disks[d].q;
    struct {
        uint32_t what, zero;
        uint64_t at;
    } head = {what, 0, 0};
    volatile uint8_t status = 255;
    uint16_t n = 0;
    uint32_t len, begin = ticks;
    queue_set(q, 0, &head, sizeof(head), false, true);
    if (sector != NULL)
        queue_set(q, 1, sector, SECTOR, what == READ, true);
    queue_set(q, sector != NULL ? 2 : 1, (const void *)(uintptr_t)&status, 1, true, false);
    queue_offer(q, 0);
    while (!queue_take(q, &n, &len))
        if (ticks - begin > WAIT)
            return false;
    return status == 0;
}

static bool has_magic(const char *sector)
{
    for (size_t i = 0; i < sizeof(magic); i++)
        if (sector[i] != magic[i])
            return false;
    return true;
}

static void count_up(size_t d)
{
    static char sector[SECTOR];
    uint32_t *count = (uint32_t *)(void *)(sector + 16);
    if (!ask(d, READ, sector)) {
        disks[d].trouble = "not read";
        return;
    }
    if (!has_magic(sector)) {
        memset(sector, 0, sizeof(sector));
        memcpy(sector, magic, sizeof(magic));
    }
    disks[d].had = *count;
    disks[d].has = ++*count;
    if (!ask(d, WRITE, sector) || !ask(d, FLUSH, NULL))
        disks[d].trouble = "not written";
}

static bool is_boot(size_t d)
{
    static unsigned char sector[SECTOR];
    return ask(d, READ, sector) && sector[510] == 0x55 && sector[511] == 0xaa;
}

void disk_found(uint32_t device)
{
    size_t d = n_disks;
    const uint32_t flushes = 1u << 9;
    if (d == DISKS)
        return;
    memset(&disks[d], 0, sizeof(disks[d]));
    if (!virtio_begin(&disks[d].v, device, flushes))
        return;
    virtio_queue(&disks[d].v, &disks[d].q, 0);
    virtio_ready(&disks[d].v);
    if (is_boot(d))
        return;
    n_disks++;
    count_up(d);
}

void disk_tell(struct text *t)
{
    for (size_t d = 0; d < n_disks; d++) {
        put(t, " volume ");
        if (disks[d].trouble != NULL) {
            put(t, disks[d].trouble);
            continue;
        }
        put_number(t, disks[d].had);
        put(t, "->");
        put_number(t, disks[d].has);
    }
}
