#include "gantry/cli.h"

#define ACT "CONTAINER SERVICE..."
#define WATCH OPTION_BIT(OPTION_WATCH)
#define WAIT OPTION_BIT(OPTION_WAIT)

const struct verb cli_verbs[] = {
    {NULL, "containers", "", 0, 0, WATCH, "the configured containers", NULL, cmd_containers},
    {NULL, "services", "CONTAINER", 1, 1, WATCH, "the services in a container", NULL, cmd_services},
    {NULL, "status", "CONTAINER [SERVICE]", 1, 2, WATCH, "state of all services, or of one",
     "  UPTIME is the time in the present state, DETAIL what s6 says beyond up and down.\n",
     cmd_status},
    {NULL, "up", ACT, 2, -1, WAIT, "start services", NULL, cmd_control},
    {NULL, "down", ACT, 2, -1, WAIT, "stop services", NULL, cmd_control},
    {NULL, "restart", ACT, 2, -1, WAIT, "stop and start services", NULL, cmd_control},
    {NULL, "logs", "CONTAINER SERVICE", 2, 2,
     OPTION_BIT(OPTION_FOLLOW) | OPTION_BIT(OPTION_LINES) | OPTION_BIT(OPTION_CLEAR),
     "what a service has logged",
     "  With -f it goes on after gantryd or the container was restarted, at the place where it\n"
     "  stopped. On a terminal, control characters other than colours are made visible.\n",
     cmd_logs},
    {NULL, "run-script", "CONTAINER SERVICE", 2, 2, OPTION_BIT(OPTION_SET),
     "print or replace a service's run script", NULL, cmd_run_script},
    {"docker", "ps", "", 0, 0, OPTION_BIT(OPTION_ALL) | WATCH, "Docker containers", NULL,
     cmd_docker_ps},
    {"docker", "status", "NAME", 1, 1, WATCH, "state of a Docker container", NULL,
     cmd_docker_status},
    {"docker", "start", "NAME...", 1, -1, WAIT, "start Docker containers", NULL,
     cmd_docker_control},
    {"docker", "stop", "NAME...", 1, -1, OPTION_BIT(OPTION_TIME) | WAIT, "stop Docker containers",
     NULL, cmd_docker_control},
    {"docker", "restart", "NAME...", 1, -1, OPTION_BIT(OPTION_TIME) | WAIT,
     "stop and start Docker containers", NULL, cmd_docker_control},
    {"docker", "logs", "NAME", 1, 1, OPTION_BIT(OPTION_LINES),
     "what a Docker container has printed",
     "  -n all prints everything that the engine has kept.\n", cmd_docker_logs},
    {NULL, "api", "METHOD PATH", 2, 2,
     OPTION_BIT(OPTION_DATA) | OPTION_BIT(OPTION_HEADER) | OPTION_BIT(OPTION_INCLUDE),
     "one call to gantryd, as it is",
     "  Prints the body of the answer, also of one that is no success. An -H before `api` is\n"
     "  --host. `gantry api GET /openapi.json` lists the calls.\n",
     cmd_api},
    {"context", "list", "", 0, 0, 0, "the machines that have a name here", NULL, cmd_context_list,
     true},
    {"context", "show", "[CONTEXT]", 0, 1, 0, "where calls go, and what is shown there", NULL,
     cmd_context_show, true},
    {"context", "use", "CONTEXT", 1, 1, 0, "talk to this machine from now on", NULL,
     cmd_context_use, true},
    {"context", "add", "NEW-CONTEXT", 1, 1, 0, "give a machine a name, or replace it",
     "  --host says where it is; --cacert, --cert, --key and --token-file are kept with it.\n",
     cmd_context_add, true},
    {"context", "remove", "CONTEXT", 1, 1, 0, "forget a machine", NULL, cmd_context_remove, true},
    {NULL, "completion", "SHELL", 1, 1, 0, "the script for bash, zsh or fish",
     "  bash: source <(gantry completion bash)\n"
     "  zsh:  gantry completion zsh >\"${fpath[1]}/_gantry\"\n"
     "  fish: gantry completion fish >~/.config/fish/completions/gantry.fish\n",
     cmd_completion, true},
    {NULL, "version", "", 0, 0, 0, "the versions of gantry and of gantryd", NULL, cmd_version},
    {NULL, "help", "[COMMAND]", 0, 2, 0, "help for everything, or for one command", NULL, cmd_help,
     true},
};
const size_t cli_n_verbs = ARRAY_LEN(cli_verbs);
