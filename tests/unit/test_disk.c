// SPDX-License-Identifier: GPL-2.0-only
/* Opening and locking images: each refusal says what to do, and nothing stays open or locked. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/backend/disk.h"
#include "devices/devices.h"
#include "tests/unit/fakes.h"

static char dir[64];

static int setup(void **state KEEL_UNUSED)
{
	snprintf(dir, sizeof(dir), "/tmp/keel-test-disk-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state KEEL_UNUSED)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

static const char *image(char path[128], const char *name, off_t len)
{
	int fd;

	snprintf(path, 128, "%s/%s", dir, name);
	fd = open(path, O_CREAT | O_RDWR | O_TRUNC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, len), 0);
	close(fd);
	return path;
}

static int open_disk(const char *path, bool readonly, struct disk **disk, struct err *err)
{
	const struct disk_options options = { .path = path, .readonly = readonly, .depth = 16 };

	*err = ERR_INIT;
	return disk_open(disk, &options, err);
}

static void refused(const char *path, bool readonly, int code, const char *why)
{
	struct disk *disk = NULL;
	struct err err;

	assert_int_equal(open_disk(path, readonly, &disk, &err), -code);
	assert_null(disk);
	if (!strstr(err.msg, why) || !strstr(err.msg, path))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
	assert_null(strchr(err.msg, '\n'));
}

static void test_refusals(void **state KEEL_UNUSED)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/none", dir);
	refused(path, false, ENOENT, "does not exist");
	refused(path, true, ENOENT, "does not exist");
	refused(dir, false, EISDIR, "is a directory");
	refused(dir, true, EISDIR, "is a directory");
	refused("/dev/null", true, EINVAL, "neither a regular file nor a block device");
	refused(image(path, "empty", 0), false, EINVAL, "is empty");
	refused(image(path, "tiny", 511), false, EINVAL, "smaller than one sector");
	image(path, "ro", 4096);
	assert_int_equal(chmod(path, 0444), 0);
	refused(path, false, EACCES, "readonly=on");
	snprintf(path, sizeof(path), "%s/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	refused(path, true, EINVAL, "neither a regular file");
}

static void test_lengths(void **state KEEL_UNUSED)
{
	struct disk *disk;
	char path[128];
	struct err err;

	assert_int_equal(open_disk(image(path, "odd", 1000), false, &disk, &err), 0);
	assert_int_equal(disk_sectors(disk), 1);
	disk_close(disk);
	assert_int_equal(open_disk(image(path, "big", (off_t)3 << 40), false, &disk, &err), 0);
	assert_int_equal(disk_sectors(disk), (uint64_t)3 << 31);
	disk_close(disk);
}

/* Another open file description is another VM, in this process or not. */
static void test_locks(void **state KEEL_UNUSED)
{
	struct disk *one, *two;
	char path[128];
	struct err err;

	image(path, "lock", 4096);
	assert_int_equal(open_disk(path, false, &one, &err), 0);
	refused(path, false, EBUSY, "is in use by another VM");
	refused(path, true, EBUSY, "is in use by another VM");
	disk_close(one);
	assert_int_equal(open_disk(path, true, &one, &err), 0);
	assert_int_equal(open_disk(path, true, &two, &err), 0);
	refused(path, false, EBUSY, "is in use by another VM");
	disk_close(one);
	refused(path, false, EBUSY, "is in use by another VM");
	disk_close(two);
	assert_int_equal(open_disk(path, false, &one, &err), 0);
	disk_close(one);
}

static void test_lock_dies_with_process(void **state KEEL_UNUSED)
{
	struct disk *disk;
	char path[128];
	struct err err;
	int status;
	pid_t pid;

	image(path, "lock", 4096);
	pid = fork();
	if (pid == 0) {
		int ret = open_disk(path, false, &disk, &err);

		_exit(ret ? 1 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(open_disk(path, false, &disk, &err), 0);
	disk_close(disk);
}

/* Nothing there: does not block when not asked to, and no longer than asked to. */
static void check_quiet(struct disk_queue *queue, int kick, int wake)
{
	uint64_t one = 1;
	unsigned events;

	assert_null(disk_wait(queue, 1000, &events));
	assert_int_equal(events, 0);
	assert_null(disk_wait(queue, DISK_NO_WAIT, &events));
	assert_int_equal(events, 0);
	assert_false(disk_has_news(queue));
	assert_int_equal(write(kick, &one, 8), 8);
	assert_null(disk_wait(queue, DISK_FOREVER, &events));
	assert_int_equal(events, DISK_KICKED);
	assert_int_equal(write(wake, &one, 8), 8);
	assert_null(disk_wait(queue, DISK_FOREVER, &events));
	assert_int_equal(events, DISK_WOKEN);
}

static void run_engine(enum disk_path io_path)
{
	static uint8_t in[8][4096], out[4096];
	struct disk_options options = { .depth = 8, .io_path = io_path };
	int kick = eventfd(0, EFD_CLOEXEC), wake = eventfd(0, EFD_CLOEXEC);
	struct disk_io ios[8] = { 0 }, *done;
	struct iovec iov[8][2];
	struct disk_queue *queue;
	struct disk *disk;
	char path[128];
	unsigned events, nr = 0;

	options.path = image(path, "engine", 8 * 4096);
	assert_int_equal(disk_open(&disk, &options, NULL), 0);
	queue = disk_queue(disk, 0);
	assert_string_equal(disk_engine(queue), "none");
	disk_start(queue, kick, wake);
	if (io_path == DISK_SYNC_ONLY)
		assert_string_equal(disk_engine(queue), "sync");
	print_message("engine: %s\n", disk_engine(queue));

	check_quiet(queue, kick, wake);
	memset(out, 0x42, sizeof(out));
	iov[0][0] = (struct iovec){ out, 1000 };
	iov[0][1] = (struct iovec){ out + 1000, 3096 };
	ios[0] = (struct disk_io){
		.op = DISK_WRITE, .offset = 4096, .len = 4096, .iov = iov[0], .nr_iov = 2
	};
	disk_submit(queue, &ios[0]);
	do {
		done = disk_wait(queue, DISK_FOREVER, &events);
	} while (!done);
	assert_ptr_equal(done, &ios[0]);
	assert_int_equal(done->result, 0);
	ios[0] = (struct disk_io){ .op = DISK_FLUSH };
	disk_submit(queue, &ios[0]);
	while (!disk_wait(queue, DISK_FOREVER, &events))
		;
	assert_int_equal(ios[0].result, 0);

	/* A full house of reads; the last lies behind the end of the file. */
	for (unsigned i = 0; i < 8; i++) {
		iov[i][0] = (struct iovec){ in[i], 4096 };
		ios[i] = (struct disk_io){ .op = DISK_READ,
					   .offset = (i + (i == 7)) * 4096,
					   .len = 4096,
					   .iov = iov[i],
					   .nr_iov = 1,
					   .result = 77 };
		disk_submit(queue, &ios[i]);
	}
	while (nr < 8)
		for (done = disk_wait(queue, DISK_FOREVER, &events); done; done = done->next)
			nr++;
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(ios[i].result, i == 7 ? -EIO : 0);
		assert_int_equal(in[i][0], i == 1 ? 0x42 : 0);
		assert_int_equal(in[i][4095], i == 1 ? 0x42 : 0);
	}
	disk_close(disk);
	close(kick);
	close(wake);
}

static void test_engines(void **state KEEL_UNUSED)
{
	run_engine(DISK_AUTO);
	run_engine(DISK_RING_ONLY);
	run_engine(DISK_SYNC_ONLY);
}

/* Several disks: what fails late leaves nothing of what came before. */
static void test_create_all(void **state KEEL_UNUSED)
{
	struct fake_machine *fm = fake_machine_create();
	struct device *host = NULL, *dev = NULL, *next;
	char a[128], b[128], c[128];
	struct err err = ERR_INIT;
	unsigned nr = 0;

	assert_int_equal(pci_host_create(&fm->bus, &host, NULL), 0);
	image(a, "a", 4096);
	image(b, "b", 4096);
	snprintf(c, sizeof(c), "%s/missing", dir);
	fm->cfg.disks[0].path = a;
	fm->cfg.disks[1].path = b;
	fm->cfg.disks[2].path = c;
	fm->cfg.nr_disks = 3;
	assert_int_equal(virtio_blk_create(&fm->bus, &dev, &err), -ENOENT);
	assert_null(dev);
	/* Twice the same image in one machine is a mistake too. */
	fm->cfg.disks[2].path = a;
	assert_int_equal(virtio_blk_create(&fm->bus, &dev, &err), -EBUSY);
	fm->cfg.nr_disks = 2;
	assert_int_equal(virtio_blk_create(&fm->bus, &dev, &err), 0);
	for (; dev; dev = next) {
		next = dev->next;
		assert_string_equal(dev->id, nr == 0 ? "disk0" : "disk1");
		dev->ops->destroy(dev);
		nr++;
	}
	assert_int_equal(nr, 2);
	host->ops->destroy(host);
	fake_machine_destroy(fm);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_refusals),
		T(test_lengths),
		T(test_locks),
		T(test_engines),
		T(test_lock_dies_with_process),
		T(test_create_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
