/* gantry: the command line of gantryd. */
#include "base/json_in.h"
#include "gantry/cli.h"
#include "gantry/text.h"
#include <signal.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    /* A reader that leaves is noticed by EPIPE; loop_new does the same, but not for help texts. */
    signal(SIGPIPE, SIG_IGN);
    json_in_init();
    text_init();
    int sig;
    int code =
        cli_main(argc, argv, &(struct cli_io){STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}, &sig);
    if (sig != 0) { /* so that a shell's loop around us ends too */
        signal(sig, SIG_DFL);
        raise(sig);
    }
    return code;
}
