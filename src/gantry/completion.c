/* completion.c: `gantry completion SHELL`: the scripts that ask `gantry __complete`. */
#include "gantry/cli.h"
#include <string.h>

/* bash ends words at '=' and ':' too, which the words of gantry may hold; so the line is parted
 * here, and what bash has set aside already is cut off the candidates. */
static const char bash[] = "# Completion of gantry for bash: source this, or put it into\n"
                           "# /usr/share/bash-completion/completions/gantry\n"
                           "_gantry() {\n"
                           "    local line=${COMP_LINE:0:COMP_POINT} "
                           "program=${COMP_WORDS[0]/#\\~/$HOME} entry quoted cut\n"
                           "    local -a words\n"
                           "    COMPREPLY=()\n"
                           "    read -ra words <<<\"$line\"\n"
                           "    [[ $line == *[[:space:]] ]] && words+=('')\n"
                           "    cut=${words[${#words[@]} - 1]}\n"
                           "    case $cut in\n"
                           "        *[=:]*) cut=${cut%\"${cut##*[=:]}\"} ;;\n"
                           "        *) cut='' ;;\n"
                           "    esac\n"
                           "    while IFS=$'\\t' read -r entry _; do\n"
                           "        if [[ $entry == :files ]]; then\n"
                           "            compopt -o default 2>/dev/null\n"
                           "            COMPREPLY=()\n"
                           "            return\n"
                           "        fi\n"
                           "        printf -v quoted %q \"${entry#\"$cut\"}\"\n"
                           "        COMPREPLY+=(\"$quoted\")\n"
                           "    done < <(\"$program\" __complete \"${words[@]:1}\" 2>/dev/null)\n"
                           "}\n"
                           "complete -F _gantry gantry\n";

static const char zsh[] =
    "#compdef gantry\n"
    "# Completion of gantry for zsh: put it as _gantry into a folder of $fpath, or source it.\n"
    "_gantry() {\n"
    "    local -a lines described\n"
    "    local line value help\n"
    "    lines=(\"${(@f)$(\"${(Q)words[1]}\" __complete \"${(@Q)words[2,CURRENT]}\" "
    "2>/dev/null)}\")\n"
    "    for line in $lines; do\n"
    "        value=${line%%$'\\t'*}\n"
    "        help=${line#*$'\\t'}\n"
    "        if [[ $value == :files ]]; then\n"
    "            _files\n"
    "            return\n"
    "        fi\n"
    "        described+=(\"${value//:/\\\\:}:$help\")\n"
    "    done\n"
    "    _describe -t words 'gantry' described\n"
    "}\n"
    "if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then\n"
    "    _gantry \"$@\"\n"
    "else\n"
    "    compdef _gantry gantry\n"
    "fi\n";

static const char fish[] =
    "# Completion of gantry for fish: put it into ~/.config/fish/completions/gantry.fish, or "
    "source "
    "it.\n"
    "function __gantry_complete\n"
    "    set -l words (commandline -opc)\n"
    "    set -l program $words[1]\n"
    "    set -e words[1]\n"
    "    for line in ($program __complete $words (commandline -ct) 2>/dev/null)\n"
    "        if test \"$line\" = ':files'\n"
    "            __fish_complete_path (commandline -ct)\n"
    "        else\n"
    "            printf '%s\\n' $line\n"
    "        end\n"
    "    end\n"
    "end\n"
    "complete -c gantry -f -a '(__gantry_complete)'\n";

int cmd_completion(struct cli *c)
{
    const char *shell = c->args.words[0];
    if (strcmp(shell, "bash") == 0)
        buf_addlit(&c->out, bash);
    else if (strcmp(shell, "zsh") == 0)
        buf_addlit(&c->out, zsh);
    else if (strcmp(shell, "fish") == 0)
        buf_addlit(&c->out, fish);
    else
        return cli_fail(c, EXIT_USAGE, NULL, "\"%s\" is none of: bash zsh fish", shell);
    return EXIT_DONE;
}
