// The post: what node `from` writes for node `to` collects in from's open parcel, crosses lane (from, to) when it is published, and is
// taken out by to's drain. Emptied standard parcels go home by the lane's second ring, which is also the sender's bounded store of spares.
// Its rule: a parcel has one owner at a time; only rings, bells and `stuck` are seen by two threads. Who looks for mail looks at its bell
// (bell.h) and then into the rings of those who rang, so a turn does not cost more with more nodes.
//
// A sender whose ring was full says so (`stuck`) and, asleep, tries once more; the receiver makes room, fences, reads `stuck` and wakes it.
#include "shards/post.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "shards/base/bug.h"
#include "shards/base/check.h"
#include "shards/bell.h"
#include "shards/os.h"
#include "shards/ring.h"

#define CACHE_LINE_BYTES 64
#define NODE_NONE UINT16_MAX
#define SPARES_MAX 512 // empty parcels that wait for one node, over all its lanes
#define LANE_SPARES_MIN 8
#define RECORD_BYTES_MAX (64u << 20)
_Static_assert(POST_NODES_MAX == BELL_NODES_MAX, "everybody can ring");

// A parcel takes a message of 16 KiB with its heads: an oversized parcel costs an allocation and cold memory.
const struct post_limits post_limits_default = {.ring_parcels = 64, .parcel_bytes = 17408, .overflow_parcels = 4};

struct record {
    uint32_t len; // of data[]
    uint16_t kind;
    uint16_t from;
    uint8_t data[]; // padded to 8 bytes
};
_Static_assert(sizeof(struct record) == 8, "records stay 8-byte aligned");

struct parcel {
    struct parcel *next; // in the overflow list
    uint32_t capacity;   // bytes of data[]
    uint32_t used;       // bytes written
    uint32_t taken;      // bytes handed over by the receiver
    uint32_t records;
    alignas(8) uint8_t data[];
};

// The way from one node to another.
struct lane {
    alignas(CACHE_LINE_BYTES) struct ring *full; // from -> to
    struct ring *home;                           // to -> from: emptied parcels
    atomic_bool stuck;                           // written by `from`: it has parcels that found no room
};

// One node's own side of the lane to one target.
struct outbox {
    struct parcel *open; // NULL or with at least one record
    struct parcel *overflow_first, *overflow_last;
    uint32_t overflow_count;
    bool is_dirty;  // listed in desk.dirty
    bool is_pushed; // parcels went into the ring since the last flush: the target may have to be woken
};

struct desk {
    struct bell bell;                             // first line: all nodes
    alignas(CACHE_LINE_BYTES) struct outbox *out; // from here on: this node only; by target
    struct parcel **current;                      // by sender: the parcel that the drain is in, or NULL
    uint16_t *dirty;                              // targets that the next flush looks at
    uint16_t dirty_count;
    uint16_t full_count;          // targets that are post_is_full
    uint16_t next_sender;         // where the drain goes on
    uint64_t pending[BELL_WORDS]; // senders that rang and whose rings have not been found empty since
    bool is_draining;
    bool is_relieved;         // overflow went into a ring since the owner last looked: post_is_full may have changed
    size_t records_published; // since the last flush
    struct post_counts counts;
};

struct post {
    uint16_t node_count;
    unsigned bell_words; // in use
    struct post_limits limits;
    uint32_t standard_capacity;
    struct desk *desks;
    struct lane *lanes; // [from * node_count + to]
};

static struct lane *lane_of(const struct post *post, uint16_t from, uint16_t to)
{
    CHECK(from < post->node_count);
    CHECK(to < post->node_count);
    return &post->lanes[(size_t)from * post->node_count + to];
}

static struct desk *desk_of(const struct post *post, uint16_t self)
{
    CHECK(self < post->node_count);
    return &post->desks[self];
}

static void *allocate_lines(size_t count, size_t bytes_each)
{
    CHECK(bytes_each % CACHE_LINE_BYTES == 0);
    void *lines = aligned_alloc(CACHE_LINE_BYTES, count * bytes_each);
    if (lines != NULL)
        memset(lines, 0, count * bytes_each);
    return lines;
}

static bool desk_init(struct desk *desk, uint16_t node_count)
{
    bell_init(&desk->bell, os_eventfd_create());
    desk->out = calloc(node_count, sizeof(*desk->out));
    desk->current = calloc(node_count, sizeof(struct parcel *));
    desk->dirty = calloc(node_count, sizeof(*desk->dirty));
    return desk->bell.wake_fd >= 0 && desk->out != NULL && desk->current != NULL && desk->dirty != NULL;
}

// Slots of the rings home: as many as can be under way, in a large post fewer.
static uint32_t home_slots(uint16_t node_count, const struct post_limits *limits)
{
    uint32_t slots = limits->ring_parcels;
    while (slots > LANE_SPARES_MIN && slots * node_count > SPARES_MAX)
        slots /= 2;
    return slots;
}

struct post *post_create(uint16_t node_count, const struct post_limits *limits)
{
    CHECK(node_count > 0 && node_count <= POST_NODES_MAX);
    CHECK(limits->parcel_bytes >= 256 && limits->parcel_bytes <= RECORD_BYTES_MAX && limits->parcel_bytes % 8 == 0);
    struct post *post = calloc(1, sizeof(*post));
    if (post == NULL)
        return NULL;
    post->node_count = node_count;
    post->bell_words = (node_count + 63u) / 64;
    post->limits = *limits;
    post->standard_capacity = limits->parcel_bytes - (uint32_t)sizeof(struct parcel);
    post->desks = allocate_lines(node_count, sizeof(struct desk));
    post->lanes = allocate_lines((size_t)node_count * node_count, sizeof(struct lane));
    bool is_whole = post->desks != NULL && post->lanes != NULL;
    for (uint16_t i = 0; post->desks != NULL && i < node_count; i++)
        is_whole = desk_init(&post->desks[i], node_count) && is_whole;
    for (size_t i = 0; is_whole && i < (size_t)node_count * node_count; i++) {
        post->lanes[i].full = ring_create(limits->ring_parcels);
        post->lanes[i].home = ring_create(home_slots(node_count, limits));
        is_whole = post->lanes[i].full != NULL && post->lanes[i].home != NULL;
    }
    if (is_whole)
        return post;
    post_destroy(post);
    return NULL;
}

static void ring_free_all(struct ring *ring)
{
    struct parcel *parcel;
    while (ring != NULL && (parcel = ring_pop(ring)) != NULL)
        free(parcel);
    ring_destroy(ring);
}

static void desk_fini(struct desk *desk, uint16_t node_count)
{
    CHECK(!desk->is_draining);
    for (uint16_t i = 0; desk->out != NULL && i < node_count; i++) {
        struct outbox *box = &desk->out[i];
        free(box->open);
        while (box->overflow_first != NULL) {
            struct parcel *next = box->overflow_first->next;
            free(box->overflow_first);
            box->overflow_first = next;
        }
    }
    for (uint16_t i = 0; desk->current != NULL && i < node_count; i++)
        free(desk->current[i]);
    free(desk->out);
    free(desk->current);
    free(desk->dirty);
    if (desk->bell.wake_fd >= 0)
        os_close(desk->bell.wake_fd);
}

void post_destroy(struct post *post)
{
    if (post == NULL)
        return;
    for (uint16_t i = 0; post->desks != NULL && i < post->node_count; i++)
        desk_fini(&post->desks[i], post->node_count);
    for (size_t i = 0; post->lanes != NULL && i < (size_t)post->node_count * post->node_count; i++) {
        ring_free_all(post->lanes[i].full);
        ring_free_all(post->lanes[i].home);
    }
    free(post->desks);
    free(post->lanes);
    free(post);
}

uint16_t post_node_count(const struct post *post)
{
    return post->node_count;
}

int post_wake_fd(struct post *post, uint16_t self)
{
    return desk_of(post, self)->bell.wake_fd;
}

static void wake_if_asleep(struct post *post, uint16_t self, uint16_t target)
{
    struct bell *bell = &desk_of(post, target)->bell;
    if (!bell_must_wake(bell))
        return;
    os_eventfd_signal(bell->wake_fd);
    desk_of(post, self)->counts.wakes_sent++;
}

static struct parcel *parcel_create(struct desk *desk, size_t capacity)
{
    struct parcel *parcel = malloc(sizeof(*parcel) + capacity);
    CHECK(parcel != NULL); // mail between our own nodes cannot be shed
    parcel->capacity = (uint32_t)capacity;
    desk->counts.parcels_allocated++;
    return parcel;
}

// An empty parcel for records of `bytes` in all; from the spares when it is a standard one.
static struct parcel *parcel_take(struct post *post, uint16_t self, uint16_t target, size_t bytes)
{
    struct parcel *parcel = NULL;
    if (bytes > post->standard_capacity) {
        parcel = parcel_create(desk_of(post, self), bytes);
    } else {
        parcel = ring_pop(lane_of(post, self, target)->home);
        if (parcel == NULL)
            parcel = parcel_create(desk_of(post, self), post->standard_capacity);
        CHECK(parcel->capacity == post->standard_capacity);
    }
    parcel->next = NULL;
    parcel->used = parcel->taken = parcel->records = 0;
    return parcel;
}

// The receiver is done with it.
static void parcel_give_back(struct post *post, uint16_t self, uint16_t sender, struct parcel *parcel)
{
    CHECK(parcel->taken == parcel->used);
    if (parcel->capacity == post->standard_capacity && ring_push(lane_of(post, sender, self)->home, parcel))
        return;
    free(parcel);
    desk_of(post, self)->counts.parcels_freed++;
}

static void mark_dirty(struct desk *desk, uint16_t target)
{
    struct outbox *box = &desk->out[target];
    if (box->is_dirty)
        return;
    box->is_dirty = true;
    desk->dirty[desk->dirty_count++] = target;
}

static void mark_pending(struct desk *desk, uint16_t sender)
{
    desk->pending[sender / 64] |= 1ull << (sender % 64);
}

static bool try_push(struct post *post, uint16_t self, uint16_t target, struct parcel *parcel)
{
    struct desk *desk = desk_of(post, self);
    if (target == self && desk->is_draining)
        return false; // a node's mail to itself waits for its next drain, so that no drain feeds itself
    uint32_t records = parcel->records;
    CHECK(records > 0);
    if (!ring_push(lane_of(post, self, target)->full, parcel))
        return false;
    if (BUG(21))
        parcel->records = 0; // given away already
    if (target == self)
        mark_pending(desk, self);
    else
        bell_ring(&desk_of(post, target)->bell, self);
    desk->out[target].is_pushed = true;
    desk->records_published += records;
    desk->counts.records_sent += records;
    desk->counts.parcels_sent++;
    return true;
}

// Into the ring, or behind what waits already.
static void publish(struct post *post, uint16_t self, uint16_t target, struct parcel *parcel)
{
    struct desk *desk = desk_of(post, self);
    struct outbox *box = &desk->out[target];
    mark_dirty(desk, target);
    if (box->overflow_count == 0 && try_push(post, self, target, parcel))
        return;
    if (box->overflow_count == 0)
        box->overflow_first = parcel;
    else
        box->overflow_last->next = parcel;
    box->overflow_last = parcel;
    box->overflow_count++;
    if (box->overflow_count == post->limits.overflow_parcels + 1)
        desk->full_count++;
    desk->counts.overflows++;
    atomic_store_explicit(&lane_of(post, self, target)->stuck, true, memory_order_relaxed);
}

// Moves waiting parcels into the ring. Returns whether any went.
static bool push_overflow(struct post *post, uint16_t self, uint16_t target)
{
    struct outbox *box = &desk_of(post, self)->out[target];
    if (box->overflow_count == 0)
        return false;
    uint32_t count_before = box->overflow_count;
    while (box->overflow_count > 0) {
        struct parcel *first = box->overflow_first;
        struct parcel *next = first->next; // read before the push gives it away
        if (!try_push(post, self, target, first))
            break;
        box->overflow_first = next;
        box->overflow_count--;
    }
    if (count_before > post->limits.overflow_parcels && box->overflow_count <= post->limits.overflow_parcels)
        desk_of(post, self)->full_count--;
    if (box->overflow_count == 0) {
        CHECK(box->overflow_first == NULL);
        box->overflow_last = NULL;
        atomic_store_explicit(&lane_of(post, self, target)->stuck, false, memory_order_relaxed);
    }
    bool any_went = box->overflow_count < count_before;
    desk_of(post, self)->is_relieved = desk_of(post, self)->is_relieved || any_went;
    return any_went;
}

static void publish_open(struct post *post, uint16_t self, uint16_t target)
{
    struct outbox *box = &desk_of(post, self)->out[target];
    struct parcel *parcel = box->open;
    if (parcel == NULL)
        return;
    box->open = NULL;
    publish(post, self, target, parcel);
}

static size_t record_bytes(size_t len)
{
    return sizeof(struct record) + (len + 7) / 8 * 8;
}

void post_write(struct post *post, uint16_t self, uint16_t target, uint16_t kind, struct bytes head, struct bytes body)
{
    CHECK(head.len <= RECORD_BYTES_MAX && body.len <= RECORD_BYTES_MAX - head.len);
    struct outbox *box = &desk_of(post, self)->out[target];
    CHECK(target < post->node_count);
    size_t len = head.len + body.len;
    size_t bytes = record_bytes(len);
    if (box->open != NULL && bytes > box->open->capacity - box->open->used)
        publish_open(post, self, target);
    if (box->open == NULL) {
        box->open = parcel_take(post, self, target, bytes);
        mark_dirty(desk_of(post, self), target);
    }

    struct parcel *parcel = box->open;
    struct record *record = (struct record *)(void *)(parcel->data + parcel->used);
    *record = (struct record){.len = (uint32_t)len, .kind = kind, .from = self};
    if (head.len > 0)
        memcpy(record->data, head.ptr, head.len);
    if (body.len > 0)
        memcpy(record->data + head.len, body.ptr, body.len);
    parcel->used += (uint32_t)bytes;
    parcel->records++;
    CHECK(parcel->used <= parcel->capacity);
}

size_t post_flush(struct post *post, uint16_t self)
{
    struct desk *desk = desk_of(post, self);
    for (uint16_t i = 0; i < desk->dirty_count; i++) {
        uint16_t target = desk->dirty[i];
        push_overflow(post, self, target);
        if (desk->out[target].overflow_count ==
            0) // else it goes on filling behind those that wait, so that many small turns are few parcels
            publish_open(post, self, target);
    }
    uint16_t kept = 0;
    for (uint16_t i = 0; i < desk->dirty_count; i++) {
        uint16_t target = desk->dirty[i];
        struct outbox *box = &desk->out[target];
        if (box->is_pushed && target != self)
            wake_if_asleep(post, self, target);
        box->is_pushed = false;
        box->is_dirty = box->overflow_count > 0;
        if (box->is_dirty)
            desk->dirty[kept++] = target;
    }
    desk->dirty_count = kept;
    size_t published = desk->records_published;
    desk->records_published = 0;
    return published;
}

bool post_is_full(const struct post *post, uint16_t self, uint16_t target)
{
    CHECK(target < post->node_count);
    return desk_of(post, self)->out[target].overflow_count > post->limits.overflow_parcels;
}

bool post_is_any_full(const struct post *post, uint16_t self)
{
    return desk_of(post, self)->full_count > 0;
}

// The next parcel of that sender, or NULL. Making room may end the wait of a sender that sleeps on a full ring.
static struct parcel *next_parcel(struct post *post, uint16_t self, uint16_t sender)
{
    struct desk *desk = desk_of(post, self);
    if (desk->current[sender] != NULL)
        return desk->current[sender];
    struct lane *lane = lane_of(post, sender, self);
    struct parcel *parcel = ring_pop(lane->full);
    if (parcel == NULL)
        return NULL;
    if (sender != self) {
        ring_fence();
        if (atomic_load_explicit(&lane->stuck, memory_order_relaxed))
            wake_if_asleep(post, self, sender);
    }
    desk->current[sender] = parcel;
    return parcel;
}

// Hands over at most records_max of one parcel of that sender.
static size_t drain_parcel(struct post *post, uint16_t self, uint16_t sender, size_t records_max,
                           void (*on_record)(void *owner, const struct post_record *record), void *owner)
{
    struct parcel *parcel = next_parcel(post, self, sender);
    if (parcel == NULL) {
        desk_of(post, self)->pending[sender / 64] &= ~(1ull << (sender % 64));
        return 0;
    }
    size_t count = 0;
    while (count < records_max && parcel->taken < parcel->used) {
        const struct record *record = (const struct record *)(const void *)(parcel->data + parcel->taken);
        CHECK(record->from == sender);
        parcel->taken += (uint32_t)record_bytes(record->len);
        CHECK(parcel->taken <= parcel->used);
        struct post_record handed = {.from = sender, .kind = record->kind, .body = bytes_of(record->data, record->len)};
        on_record(owner, &handed);
        count++;
    }
    if (parcel->taken == parcel->used) {
        desk_of(post, self)->current[sender] = NULL;
        parcel_give_back(post, self, sender, parcel);
    }
    return count;
}

// The first that is pending, from next_sender on and around; NODE_NONE.
static uint16_t next_pending(const struct desk *desk, unsigned words)
{
    unsigned first = desk->next_sender / 64;
    uint64_t from_here = ~0ull << (desk->next_sender % 64);
    for (unsigned i = 0; i <= words; i++) { // the first word twice: from next_sender on, at last all of it
        unsigned word = (first + i) % words;
        uint64_t bits = desk->pending[word] & (i == 0 ? from_here : ~0ull);
        if (bits != 0)
            return (uint16_t)(word * 64 + (unsigned)__builtin_ctzll(bits));
    }
    return NODE_NONE;
}

size_t post_drain(struct post *post, uint16_t self, size_t records_max, void (*on_record)(void *owner, const struct post_record *record),
                  void *owner)
{
    struct desk *desk = desk_of(post, self);
    CHECK(!desk->is_draining);
    desk->is_draining = true;
    size_t count = 0;
    while (count < records_max) {
        bell_take(&desk->bell, desk->pending, post->bell_words);
        uint16_t sender = next_pending(desk, post->bell_words);
        if (sender == NODE_NONE)
            break;
        count += drain_parcel(post, self, sender, records_max - count, on_record, owner);
        if (desk->current[sender] == NULL) // else its parcel is finished first, by the next drain
            desk->next_sender = (uint16_t)(sender + 1 < post->node_count ? sender + 1 : 0);
    }
    desk->is_draining = false;
    return count;
}

static bool has_mail(const struct post *post, uint16_t self)
{
    const struct desk *desk = desk_of(post, self);
    for (unsigned i = 0; i < post->bell_words; i++)
        if (desk->pending[i] != 0)
            return true;
    return bell_has_rung(&desk->bell, post->bell_words);
}

bool post_sleep(struct post *post, uint16_t self)
{
    struct desk *desk = desk_of(post, self);
    CHECK(!desk->is_draining);
    bell_sleep(&desk->bell);
    bool is_needed = has_mail(post, self);
    for (uint16_t i = 0; i < desk->dirty_count; i++) { // room that was made before `asleep` could be seen
        const struct outbox *box = &desk->out[desk->dirty[i]];
        CHECK(box->open == NULL || box->overflow_count > 0); // flush before sleeping
        (void)push_overflow(post, self, desk->dirty[i]);
    }
    is_needed = is_needed || (desk->is_relieved && !BUG(25)); // one more turn, in which the owner sees that the target is no longer full
    desk->is_relieved = false;
    if (is_needed)
        post_awake(post, self);
    return !is_needed;
}

void post_awake(struct post *post, uint16_t self)
{
    bell_awake(&desk_of(post, self)->bell);
}

bool post_is_idle(const struct post *post, uint16_t self)
{
    return desk_of(post, self)->dirty_count == 0 && !has_mail(post, self);
}

void post_counts(const struct post *post, uint16_t self, struct post_counts *ret_counts)
{
    *ret_counts = desk_of(post, self)->counts;
}
