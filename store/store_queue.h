// Messages kept for devices that are away, and the month's byte count, in an SQLite file of their own, so that the accounts' file stays the
// original's. One rule: what a commit has confirmed survives a loss of power (synchronous = FULL). Functions block; one thread at a time.
#pragma once
#include "store/store.h"

struct store_queue;

#define STORE_QUEUE_KEY_BYTES 32

// path NULL: in memory, nothing touches the disk. NULL: error_text holds a sentence for the operator.
struct store_queue *store_queue_open(const char *path, char *error_text, size_t error_max);
void store_queue_close(struct store_queue *queue);              // takes NULL
const char *store_queue_error(const struct store_queue *queue); // why the last STORE_FAILED

// Everything below but _commit works inside a transaction that the first call opens. After STORE_FAILED call _rollback: nothing since the
// last commit has happened then.
enum store_result store_queue_commit(struct store_queue *queue); // without an open transaction: STORE_OK
void store_queue_rollback(struct store_queue *queue);

struct store_queue_row {
    uint64_t number;                   // unique, growing
    const uint8_t *recipient, *sender; // STORE_QUEUE_KEY_BYTES each
    int64_t expires_s;                 // wall clock: kept as long as wall_s <= expires_s
    uint64_t text_bytes;               // length of text, also where it is not read
    struct bytes text;
};
enum store_result store_queue_add(struct store_queue *queue, const struct store_queue_row *row);

// Calls on_row, which must not call the queue, until it returns false. _read: a recipient's live rows after `after`, in order, with text.
// _expired: up to `max` rows that have expired. _upto: a recipient's rows up to `number`. _each: all rows. The last three: without text.
enum store_result store_queue_read(struct store_queue *queue, const uint8_t *recipient, uint64_t after, int64_t wall_s,
                                   bool (*on_row)(void *owner, const struct store_queue_row *row), void *owner);
enum store_result store_queue_expired(struct store_queue *queue, int64_t wall_s, uint32_t max,
                                      bool (*on_row)(void *owner, const struct store_queue_row *row), void *owner);
enum store_result store_queue_upto(struct store_queue *queue, const uint8_t *recipient, uint64_t number,
                                   bool (*on_row)(void *owner, const struct store_queue_row *row), void *owner);
enum store_result store_queue_each(struct store_queue *queue, bool (*on_row)(void *owner, const struct store_queue_row *row), void *owner);
enum store_result store_queue_delete_upto(struct store_queue *queue, const uint8_t *recipient, uint64_t number);
enum store_result store_queue_delete(struct store_queue *queue, uint64_t number);

// The bytes relayed in a month (year * 12 + month - 1, UTC). Only the newest month is kept. STORE_NOT_FOUND: none was ever set.
enum store_result store_queue_month_get(struct store_queue *queue, uint32_t *ret_month, uint64_t *ret_bytes);
enum store_result store_queue_month_set(struct store_queue *queue, uint32_t month, uint64_t bytes);
