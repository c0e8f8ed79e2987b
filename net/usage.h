// Usage waiting to be stored: sums per day and account, and per day and address, of a bounded number of rows. What finds no room while
// the database fails is shed and counted. Thread: the accounts node; time is a parameter.
#pragma once
#include "net/accounts.h"
#include "store/store.h"

struct usage;

struct usage *usage_create(uint32_t rows_max); // NULL when memory is short
void usage_destroy(struct usage *usage);       // takes NULL

void usage_add(struct usage *usage, const struct usage_record *record, int64_t wall_s);
// Writes all rows in one transaction and forgets them. On failure they stay for the next time.
enum store_result usage_store(struct usage *usage, struct store *store);
uint32_t usage_rows(const struct usage *usage);
bool usage_is_crowded(const struct usage *usage); // three quarters full: store soon
uint64_t usage_shed(const struct usage *usage);   // halves of records that found no room

// "10.0.0.1" or "2001:db8::1", as the original names a peer.
void usage_address_text(const struct net_address *address, char ret_text[STORE_ADDRESS_MAX + 1]);
