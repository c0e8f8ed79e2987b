// Backbone's part of the run: opening, settling, leaving; and what the shards' Backbone may hold while it runs, at rest and in the end.
#include "net/backbone/internal.h"
#include "shards/base/check.h"
#include "tests/sim/bone.h"

static int listeners[SIM_SHARDS_MAX];

// ---- the run ----

void bone_open(uint16_t first_node)
{
    if (!bone_config.is_on)
        return;
    bone_checkers_open();
    bone_devices_open();
    bone_nodes_open(first_node);
    memset(bone_clients, 0, sizeof(bone_clients));
    bool at_once = sim_chance(300);
    for (uint32_t i = 0; i < bone_config.clients; i++)
        bone_clients[i] = (struct bone_client){.socket = -1,
                                               .act_at_ns = kernel_now_ns() + (at_once ? 1 : sim_below(20000000)),
                                               .beat_at_ns = UINT64_MAX,
                                               .give_up_ns = UINT64_MAX};
}

void bone_listen(uint16_t shard)
{
    if (!bone_config.is_on)
        return;
    bool used = shard_use_backbone(sim_shards[shard], bone_shared());
    CHECK(used);
    listeners[shard] = kernel_listen();
    CHECK(shard_listen(sim_shards[shard], listeners[shard], &backbone_room) == 0);
}

int bone_listener(uint16_t shard)
{
    return listeners[shard];
}

void bone_close(void)
{
    for (uint32_t i = 0; bone_config.is_on && i < bone_config.clients; i++) {
        buffer_free(&bone_clients[i].in);
        buffer_free(&bone_clients[i].out);
    }
    if (bone_config.is_on)
        bone_checkers_close();
}

void bone_settle(void)
{
    bone_stop_acting();
    for (uint32_t i = 0; bone_config.is_on && i < bone_config.clients; i++) {
        bone_clients[i].act_at_ns = UINT64_MAX;
        bone_clients[i].paused_until_ns = 0;
    }
}

// Some say nothing, so that the server has to notice; silent ones stay as they are anyway.
void bone_leave_all(void)
{
    for (uint32_t i = 0; bone_config.is_on && i < bone_config.clients; i++) {
        struct bone_client *client = &bone_clients[i];
        if (client->phase == BONE_IDLE)
            continue;
        bool goes_silent = client->phase != BONE_OPEN || sim_chance(300);
        bone_leave(client, goes_silent);
    }
}

bool bone_is_busy(void)
{
    if (!bone_config.is_on)
        return false;
    bool busy = bone_crypto_is_busy();
    for (uint16_t i = 0; i < sim_config.shard_count; i++)
        busy = busy || sim_shards[i]->backbone->probes != NULL;
    return busy;
}

// ---- the shards ----

void bone_check_often(void)
{
    for (uint16_t i = 0; bone_config.is_on && i < sim_config.shard_count; i++) {
        const struct backbone *backbone = sim_shards[i]->backbone;
        SIM_CHECK(backbone->tasks <= bone_config.tasks_max && backbone->logins <= bone_config.logins_max,
                  "shard %u: %u tasks, %u logins at the crypto nodes", (unsigned)i, backbone->tasks, backbone->logins);
        for (const struct backbone_session *session = backbone->sessions; session != NULL; session = session->next) {
            SIM_CHECK(session->in.frames <= BACKBONE_LANE_FRAMES_MAX && session->in.bytes < BACKBONE_LANE_BYTES_MAX + BACKBONE_BODY_MAX,
                      "shard %u: a session is read on: %u frames, %zu bytes wait", (unsigned)i, session->in.frames, session->in.bytes);
            SIM_CHECK(session->in.tasks <= BACKBONE_LANE_TASKS_MAX && session->out.tasks <= BACKBONE_LANE_TASKS_MAX,
                      "shard %u: a session has %u and %u tasks", (unsigned)i, session->in.tasks, session->out.tasks);
            SIM_CHECK(session->answers <= 2 * BACKBONE_ANSWERS_MAX + 4, "shard %u: %u answers wait in a session", (unsigned)i,
                      session->answers);
        }
    }
}

static void check_session(uint16_t shard, const struct backbone_session *session)
{
    bool may_wait = session->router_waits || session->question != NULL || session->answers >= BACKBONE_ANSWERS_MAX || session->stops;
    SIM_CHECK(session->stage != STAGE_OVER && session->stage != STAGE_CHECKED, "shard %u: a session is left in stage %u", (unsigned)shard,
              (unsigned)session->stage);
    SIM_CHECK(session->tasks == 0 && session->pins == 0 && !session->in_line && session->out.head == NULL,
              "shard %u: a session has %u tasks and %u frames to write", (unsigned)shard, session->tasks, session->out.frames);
    SIM_CHECK(session->in.head == NULL || may_wait || session->stage != STAGE_ENTERED, "shard %u: a session has %u frames to work off",
              (unsigned)shard, session->in.frames);
}

// Nobody can run, and the crypto nodes have nothing to do.
void bone_check_quiet(void)
{
    for (uint16_t i = 0; bone_config.is_on && !bone_crypto_is_busy() && i < sim_config.shard_count; i++) {
        const struct backbone *backbone = sim_shards[i]->backbone;
        SIM_CHECK(backbone->tasks == 0 && backbone->logins == 0, "shard %u: %u tasks, %u logins are nowhere", (unsigned)i, backbone->tasks,
                  backbone->logins);
        SIM_CHECK(backbone->line.head == NULL && backbone->login_line.head == NULL, "shard %u: sessions stand in line for nothing",
                  (unsigned)i);
        for (uint32_t node = 0; node < bone_config.nodes; node++)
            SIM_CHECK(backbone->load[node] == 0, "shard %u: load of crypto node %u", (unsigned)i, node);
        for (const struct backbone_session *session = backbone->sessions; session != NULL; session = session->next)
            check_session(i, session);
    }
}

void bone_check_gone(void)
{
    for (uint16_t i = 0; bone_config.is_on && i < sim_config.shard_count; i++) {
        const struct backbone *backbone = sim_shards[i]->backbone;
        SIM_CHECK(backbone->sessions == NULL && backbone->entered == 0 && backbone->tasks == 0, "shard %u: Backbone sessions are left",
                  (unsigned)i);
        SIM_CHECK(backbone->probes == NULL && !timer_is_set(&backbone->probe_timer), "shard %u: probes are left", (unsigned)i);
        for (uint32_t chain = 0; chain < BACKBONE_IDS; chain++)
            SIM_CHECK(backbone->by_id[chain] == NULL, "shard %u: an id is left", (unsigned)i);
    }
}
