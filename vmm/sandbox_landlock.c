// SPDX-License-Identifier: GPL-2.0-only
#include "vmm/sandbox_landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keel/cleanup.h"

/* What the kernel's headers of this system need not know yet. */
#define ACCESS_FS_REMOVE_FILE ((uint64_t)1 << 5)
#define ACCESS_NET_ALL        ((uint64_t)3)
#define SCOPE_ALL             ((uint64_t)3)

/* The kernel takes any length whose unknown tail is zero. */
struct ruleset {
	uint64_t fs, net, scoped;
};

/* Number of file system rights by version. */
static uint64_t all_fs(unsigned abi)
{
	static const unsigned char rights[] = { 0, 13, 14, 15, 15, 16 };
	unsigned known = abi < ARRAY_SIZE(rights) ? abi : (unsigned)ARRAY_SIZE(rights) - 1;

	return ((uint64_t)1 << rights[known]) - 1;
}

unsigned sandbox_landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return abi > 0 ? (unsigned)abi : 0;
}

static int allow_dir(int ruleset, const char *dir, struct err *err)
{
	auto_fd int fd = open(dir, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = { .allowed_access = ACCESS_FS_REMOVE_FILE,
						   .parent_fd = fd };

	/* Not there, or not for us: then there is nothing to remove either. */
	if (fd < 0 && (errno == ENOENT || errno == EACCES || errno == ENOTDIR))
		return 0;
	if (fd < 0)
		return err_sys(err, "cannot open %s", dir);
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
		return err_sys(err, "Landlock: cannot allow %s", dir);
	return 0;
}

int sandbox_landlock_enter(unsigned abi, const struct sandbox_paths *paths, struct err *err)
{
	struct ruleset attr = { .fs = all_fs(abi),
				.net = abi >= 4 ? ACCESS_NET_ALL : 0,
				.scoped = abi >= 6 ? SCOPE_ALL : 0 };
	auto_fd int fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	int ret = 0;

	if (fd < 0)
		return err_sys(err, "Landlock: cannot create a ruleset");
	for (unsigned i = 0; i < paths->nr_dirs && !ret; i++)
		ret = allow_dir(fd, paths->dirs[i], err);
	if (ret)
		return ret;
	if (syscall(SYS_landlock_restrict_self, fd, 0))
		return err_sys(err, "Landlock: cannot restrict the process");
	return 0;
}
