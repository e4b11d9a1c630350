// SPDX-License-Identifier: MIT
//
// The repository's lock: one owner, told by name to others, gone with its process, and never
// disturbed by those who only look.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/repo_lock.h"

#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>

static int make(void **state)
{
    struct scratch *scratch = calloc(1, sizeof(*scratch));

    *state = scratch;
    return scratch ? scratch_make(scratch) : -1;
}

static int clean(void **state)
{
    int r = scratch_remove(*state);

    free(*state);
    return r;
}

static void test_one_owner(void **state)
{
    struct scratch *scratch = *state;
    struct repo_lock_owner owner = {0};
    struct error err = ERROR_INIT;
    char sentence[200];
    int fd, other = -1;
    bool owned = true;

    assert_int_equal(repo_lock_inspect(scratch->folder, &owned, &owner, NULL), 0);
    assert_false(owned);
    assert_int_equal(repo_lock_acquire(scratch->folder, "mount", "/mnt/backup", &fd, NULL, NULL),
                     0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(repo_lock_acquire(scratch->folder, "backup", NULL, &other, &owner, &err),
                     -EBUSY);
    assert_int_equal(other, -1);
    assert_int_equal(owner.pid, getpid());
    assert_string_equal(owner.command, "mount");
    assert_string_equal(owner.mountpoint, "/mnt/backup");
    snprintf(sentence, sizeof(sentence), "busy, owned by pid %d (mounted at /mnt/backup)",
             (int)getpid());
    assert_string_equal(error_message(&err), sentence);

    memset(&owner, 0, sizeof(owner));
    assert_int_equal(repo_lock_inspect(scratch->folder, &owned, &owner, NULL), 0);
    assert_true(owned);
    assert_int_equal(owner.pid, getpid());

    repo_lock_release(fd);
    assert_int_equal(repo_lock_inspect(scratch->folder, &owned, &owner, NULL), 0);
    assert_false(owned);
    assert_int_equal(owner.pid, 0);
    assert_int_equal(repo_lock_acquire(scratch->folder, "backup", NULL, &fd, NULL, NULL), 0);
    repo_lock_release(fd);
}

static void test_a_dead_owner_leaves_nothing(void **state)
{
    struct scratch *scratch = *state;
    struct repo_lock_owner owner;
    bool owned;
    int status, fd, ready[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        if (repo_lock_acquire(scratch->folder, "mount", "/m", &fd, NULL, NULL) == 0 &&
            write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(repo_lock_inspect(scratch->folder, &owned, &owner, NULL), 0);
    assert_true(owned);
    assert_int_equal(owner.pid, pid);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    // Its text is still there, but nobody believes it.
    assert_int_equal(repo_lock_inspect(scratch->folder, &owned, &owner, NULL), 0);
    assert_false(owned);
    assert_int_equal(repo_lock_acquire(scratch->folder, "list", NULL, &fd, NULL, NULL), 0);
    assert_int_equal(repo_lock_inspect(scratch->folder, &owned, &owner, NULL), 0);
    assert_int_equal(owner.pid, getpid());
    assert_string_equal(owner.mountpoint, "");
    repo_lock_release(fd);
    close(ready[0]);
    close(ready[1]);
}

static void test_odd_mountpoints(void **state)
{
    static const char *const names[] = {
        "/a\nmountpoint /b", "/with blank", "/back\\slash", "/\\012", "/tab\there", "/\xff\xfe"};
    struct scratch *scratch = *state;
    struct repo_lock_owner owner;
    bool owned;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        int fd;

        assert_int_equal(repo_lock_acquire(scratch->folder, "mount", names[i], &fd, NULL, NULL), 0);
        assert_int_equal(repo_lock_inspect(scratch->folder, &owned, &owner, NULL), 0);
        assert_string_equal(owner.mountpoint, names[i]);
        assert_string_equal(owner.command, "mount");
        repo_lock_release(fd);
    }
}

// Another process may look while the text is being written.
static void test_half_written_text(void **state)
{
    static const struct {
        const char *text;
        pid_t pid;
        const char *command;
    } cases[] = {
        {"", 0, ""},
        {"pi", 0, ""},
        {"pid 1234", 0, ""},
        {"pid 1234\n", 1234, ""},
        {"pid 1234\ncommand mo", 1234, ""},
        {"pid x\ncommand mount\n", 0, "mount"},
        {"pid -5\n", 0, ""},
        {"pid 99999999999999999999\n", 0, ""},
        {"command aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", 0,
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
        {"nonsense\n\n\n\\\ncommand \\\n", 0, "\\"},
    };
    struct scratch *scratch = *state;
    int fd;

    assert_int_equal(repo_lock_acquire(scratch->folder, "mount", NULL, &fd, NULL, NULL), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct repo_lock_owner owner;
        size_t len = strlen(cases[i].text);
        bool owned;

        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, cases[i].text, len, 0), (ssize_t)len);
        assert_int_equal(repo_lock_inspect(scratch->folder, &owned, &owner, NULL), 0);
        assert_true(owned);
        assert_int_equal(owner.pid, cases[i].pid);
        assert_string_equal(owner.command, cases[i].command);
    }
    assert_int_equal(repo_lock_describe(fd, "mount", "/later", NULL), 0);
    assert_int_equal(repo_lock_acquire(scratch->folder, "mount", NULL, &fd, NULL, NULL), -EBUSY);
    repo_lock_release(fd);
}

struct prober {
    const char *folder;
    atomic_bool stop;
};

static void *probe(void *arg)
{
    struct prober *prober = arg;
    struct repo_lock_owner owner;
    bool owned;

    while (!atomic_load(&prober->stop))
        repo_lock_inspect(prober->folder, &owned, &owner, NULL);
    return NULL;
}

static void test_looking_does_not_disturb(void **state)
{
    struct scratch *scratch = *state;
    struct prober prober = {.folder = scratch->folder};
    pthread_t threads[2];

    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, probe, &prober), 0);
    for (int i = 0; i < 20; i++) {
        int fd;

        assert_int_equal(repo_lock_acquire(scratch->folder, "mount", "/m", &fd, NULL, NULL), 0);
        repo_lock_release(fd);
    }
    atomic_store(&prober.stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

static void *hold_for_an_instant(void *arg)
{
    int fd = *(int *)arg;

    usleep(30000);
    flock(fd, LOCK_UN);
    return NULL;
}

// The shared lock of one who looks, held at the very moment an owner starts.
static void test_an_owner_outlasts_a_look(void **state)
{
    struct scratch *scratch = *state;
    int looking = open(scratch_path(scratch, "lock"), O_RDONLY | O_CREAT, 0600), fd;
    pthread_t thread;

    assert_true(looking >= 0);
    assert_int_equal(flock(looking, LOCK_SH | LOCK_NB), 0);
    assert_int_equal(pthread_create(&thread, NULL, hold_for_an_instant, &looking), 0);
    assert_int_equal(repo_lock_acquire(scratch->folder, "mount", "/m", &fd, NULL, NULL), 0);
    pthread_join(thread, NULL);
    repo_lock_release(fd);
    close(looking);
}

static void test_no_folder(void **state)
{
    struct error err = ERROR_INIT;
    bool owned = true;
    int fd;
    (void)state;

    assert_int_equal(repo_lock_acquire("/nowhere/at/all", "x", NULL, &fd, NULL, &err), -ENOENT);
    assert_non_null(strstr(error_message(&err), "/nowhere/at/all/lock"));
    assert_int_equal(repo_lock_inspect("/nowhere/at/all", &owned, NULL, NULL), 0);
    assert_false(owned);
    repo_lock_release(-1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_owner),
        cmocka_unit_test(test_a_dead_owner_leaves_nothing),
        cmocka_unit_test(test_odd_mountpoints),
        cmocka_unit_test(test_half_written_text),
        cmocka_unit_test(test_looking_does_not_disturb),
        cmocka_unit_test(test_an_owner_outlasts_a_look),
        cmocka_unit_test(test_no_folder),
    };
    return cmocka_run_group_tests(tests, make, clean);
}
