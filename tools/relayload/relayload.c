// relayload: load on a relay that speaks Buckets v1, and what came of it. Targets nothing but what it was told.
#include "shards/base/check.h"
#include "tools/relayload/args.h"
#include "tools/relayload/here.h"
#include "tools/relayload/page.h"
#include "tools/relayload/report.h"
#include "tools/relayload/run.h"
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define SCENARIOS_MAX 16

static void list_scenarios(struct args_scenario *ret_list)
{
    size_t i = 0;
    for (; run_scenarios[i]; i++) {
        CHECK(i + 1 < SCENARIOS_MAX);
        ret_list[i] = (struct args_scenario){.name = run_scenarios[i]->name, .summary = run_scenarios[i]->summary};
    }
    ret_list[i] = (struct args_scenario){0};
}

static int run_scenario_and_report(const struct args *args)
{
    static struct run_result result; // large
    run(args, &result);
    if (args->json)
        report_json(&result, stdout);
    else
        report_table(&result, stdout);
    int status = args->html ? page_write(&result, args->html) : 0;
    if (status != 0)
        fprintf(stderr, "relayload: %s: %s\n", args->html, strerror(-status));
    return result.is_failed || status != 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct args_scenario scenarios[SCENARIOS_MAX];
    struct args args;
    list_scenarios(scenarios);
    args_parse(argc, argv, scenarios, &args);
    signal(SIGPIPE, SIG_IGN);
    if (sodium_init() < 0) {
        fputs("relayload: libsodium does not start\n", stderr);
        return 1;
    }
    int status = args.here ? here_run(&args) : args_resolve(&args) ? run_scenario_and_report(&args) : 1;
    args_free(&args);
    return status;
}
