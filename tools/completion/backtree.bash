# SPDX-License-Identifier: MIT
#
# bash completion for backtree: commands, options, words of options, repositories, and the names of
# VMs, disks, chains and snapshots, a part at a time. Options are read from --help and names from
# `backtree list --names`, so nothing is listed here a second time. A repository that is not there
# or cannot be read completes nothing and says nothing.

# Names in the repository with exactly $2 parts ("web1/vda" has two), of what $3 names ("" = all).
_backtree_names() {
    [[ -n $1 ]] || return
    backtree list --names -- "$1" ${3:+"$3"} 2>/dev/null </dev/null | awk -F/ -v parts="$2" 'NF == parts'
}

# COMPREPLY for a name in $1, of which $2 is typed. $3: the numbers of parts that are a whole name
# for the command ("2 4": a disk or a snapshot), ascending. What can go on ends in a slash.
_backtree_path() {
    local repo=$1 cur=$2 levels=" $3 " parent='' slashes=${2//[^\/]/} name
    local level=$((${#slashes} + 1)) deepest=${3##* }
    COMPREPLY=()
    ((level <= deepest)) && [[ $cur != *//* ]] || return
    [[ $cur == */* ]] && parent=${cur%/*}
    while IFS= read -r name; do
        [[ $name == "$cur"* ]] || continue
        [[ $levels == *" $level "* ]] && COMPREPLY+=("$name")
        ((level < deepest)) && COMPREPLY+=("$name/")
    done < <(_backtree_names "$repo" "$level" "$parent")
    # `latest` stands beside the chains, for a snapshot.
    name=$parent/latest
    if ((level == 3 && deepest == 4)) && [[ $name == "$cur"* ]] &&
        [[ -n $(_backtree_names "$repo" 4 "$parent") ]]; then
        COMPREPLY+=("$name")
    fi
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == */ ]] && compopt -o nospace 2>/dev/null
    return 0
}

_backtree_commands() {
    backtree --help 2>/dev/null </dev/null | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }'
}

_backtree_options() {
    backtree "$1" --help 2>/dev/null </dev/null |
        awk '/^  --/ { sub(/,$/, "", $1); sub(/=.*/, "=", $1); print $1 }'
}

# The words an option takes after its '='.
_backtree_values() {
    local command=$1 option=$2 repo=$3
    case $option in
    --state)
        echo pending running completed failed cancelled
        if [[ $command == list ]]; then echo forgotten; fi
        ;;
    --trigger) echo manual scheduled pre_restore_safety ;;
    --kind) if [[ $command == jobs ]]; then echo backup restore prune verify gc check; else echo full incremental; fi ;;
    --vm) _backtree_names "$repo" 1 ;;
    --disk) _backtree_names "$repo" 2 ;;
    esac
}

_backtree_operand() {
    local command=$1 place=$2 repo=$3 cur=$4
    case $command:$place in
    *:1 | mount:2 | umount:*)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        ;;
    restore:3 | add:*)
        if [[ $place == 2 ]]; then
            mapfile -t COMPREPLY < <(compgen -W "$(_backtree_names "$repo" 1)" -- "$cur")
        else
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        fi
        ;;
    backup:2 | prune:2) _backtree_path "$repo" "$cur" "1 2" ;;
    list:2) _backtree_path "$repo" "$cur" "1 2 3" ;;
    remove:2 | verify:2) _backtree_path "$repo" "$cur" "1 2 4" ;;
    show:2) _backtree_path "$repo" "$cur" "1 2 3 4" ;;
    restore:2 | diff:[23]) _backtree_path "$repo" "$cur" "2 4" ;;
    esac
}

_backtree() {
    local cur=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} repo='' place=1 i
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "$(_backtree_commands) --help --version" -- "$cur")
        return
    fi

    # Operands before the cursor; bash makes '=' a word, and what follows it is a value.
    for ((i = 2; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        =) ((i++)) ;;
        -o) ((i++)) ;;
        -*) ;;
        *)
            if [[ ${COMP_WORDS[i + 1]} != = || $command == add ]]; then
                ((place == 1)) && repo=${COMP_WORDS[i]}
                ((place++))
            fi
            ;;
        esac
    done
    repo=${repo//[\\\'\"]/} # as it was typed, quoted
    repo=${repo/#\~\//$HOME/}

    local option=''
    if [[ $cur == = ]]; then
        option=${COMP_WORDS[COMP_CWORD - 1]}
        cur=''
    elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == = ]]; then
        option=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    if [[ $option == --* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_backtree_values "$command" "$option" "$repo")" -- "$cur")
    elif [[ -n $option ]]; then # DISK=SOURCE
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    elif [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_backtree_options "$command")" -- "$cur")
        [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
    else
        _backtree_operand "$command" "$place" "$repo" "$cur"
    fi
}

complete -F _backtree backtree
