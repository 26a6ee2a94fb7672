// SPDX-License-Identifier: GPL-2.0-only
/* The command line's side of the control socket, against the real server and against a strange one.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "keel/clock.h"
#include "keel/rundir.h"
#include "rpc_fixture.h"

static struct rpc_client *client_of(const struct rpc_fixture *fixture)
{
	struct rpc_client *client;

	assert_int_equal(rpc_client_connect(&client, rpc_fixture_path(fixture), NULL), 0);
	return client;
}

static int set_up(void **state)
{
	*state = rpc_fixture_create();
	return 0;
}

static int tear_down(void **state)
{
	rpc_fixture_destroy(*state);
	return 0;
}

static void call_ok(struct rpc_client *client, const char *method, json_t *params)
{
	struct err err = ERR_INIT;
	json_t *result;

	if (rpc_client_call(client, method, params, 0, &result, &err))
		fail_msg("%s: %s", method, err.msg);
	json_decref(result);
}

static void test_call(void **state)
{
	struct rpc_client *client = client_of(*state);
	json_t *result, *want = json_pack("{s:s, s:i}", "text", "h\xc3\xa9", "number", 42);

	assert_int_equal(rpc_client_call(client, "echo", json_pack("{s:s}", "text", "h\xc3\xa9"), 0,
					 &result, NULL),
			 0);
	assert_true(json_equal(result, want));
	json_decref(result);
	json_decref(want);
	/* true stands for "done". */
	assert_int_equal(rpc_client_call(client, "release", NULL, 0, &result, NULL), 0);
	assert_true(json_is_true(result));
	json_decref(result);
	rpc_client_close(client);
	rpc_client_close(NULL);
}

static void test_errors(void **state)
{
	static const int codes[] = { EPERM, ENOENT, EBUSY, EINVAL, ENOSPC, ETIMEDOUT, EADDRINUSE };
	struct rpc_client *client = client_of(*state);
	struct err err = ERR_INIT;
	json_t *result;

	/* The errno crosses by name, the message as it is. */
	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		int ret = rpc_client_call(
			client, "fail",
			json_pack("{s:s, s:i}", "text", "no luck", "code", codes[i]), 0, &result,
			&err);

		assert_int_equal(ret, -codes[i]);
		assert_string_equal(err.msg, "no luck");
		assert_null(result);
	}
	assert_true(rpc_client_call(client, "hell", NULL, 0, &result, &err) < 0);
	assert_int_equal(
		rpc_client_call(client, "echo", json_pack("{s:i}", "txt", 1), 0, &result, &err),
		-EINVAL);
	assert_non_null(strstr(err.msg, "text"));
	rpc_client_close(client);
}

/* A call that timed out gets its answer late; the next call must not take it for its own. */
static void test_late_answer(void **state)
{
	struct rpc_client *client = client_of(*state), *other = client_of(*state);
	struct err err = ERR_INIT;
	json_t *result;

	assert_int_equal(rpc_client_call(client, "hold", NULL, NSEC_PER_MSEC, &result, &err),
			 -ETIMEDOUT);
	call_ok(other, "release", NULL);
	assert_int_equal(rpc_client_call(client, "echo", json_pack("{s:s}", "text", "mine"), 0,
					 &result, NULL),
			 0);
	assert_string_equal(json_string_value(json_object_get(result, "text")), "mine");
	json_decref(result);
	rpc_client_close(client);
	rpc_client_close(other);
}

static void test_events(void **state)
{
	struct rpc_client *client = client_of(*state), *other = client_of(*state);
	json_t *event;

	call_ok(client, "subscribe", NULL);
	assert_int_equal(rpc_client_event(client, NSEC_PER_MSEC, &event, NULL), -ETIMEDOUT);
	call_ok(other, "notify", json_pack("{s:s}", "text", "first"));
	call_ok(other, "notify", json_pack("{s:s}", "text", "second"));
	/* Events that come with a call's answer are kept, in order. */
	call_ok(client, "held", NULL);
	assert_int_equal(rpc_client_event(client, 0, &event, NULL), 0);
	assert_string_equal(json_string_value(json_object_get(event, "event")), "said");
	assert_string_equal(json_string_value(json_object_get(event, "text")), "first");
	json_decref(event);
	assert_int_equal(rpc_client_event(client, 0, &event, NULL), 0);
	assert_string_equal(json_string_value(json_object_get(event, "text")), "second");
	json_decref(event);
	rpc_fixture_end_server(*state);
	assert_int_equal(rpc_client_event(client, 0, &event, NULL), -EPIPE);
	rpc_client_close(client);
	rpc_client_close(other);
}

static void test_nobody_there(void **state)
{
	struct rpc_client *client;
	struct err err = ERR_INIT;

	rpc_fixture_end_server(*state);
	assert_int_equal(rpc_client_connect(&client, rpc_fixture_path(*state), &err),
			 -ECONNREFUSED);
	assert_non_null(strstr(err.msg, rpc_fixture_path(*state)));
	assert_int_equal(rpc_client_connect(&client, "/nonexistent/x.sock", &err), -ENOENT);
}

/* A server that is not Keel's: takes one request and says what the test gives it, then closes. */
struct stranger {
	int listen_fd;
	const char *answer;
	size_t repeat;
};

static void *be_strange(void *arg)
{
	const struct stranger *stranger = arg;
	int fd = accept(stranger->listen_fd, NULL, NULL);
	char request[4096];

	if (fd < 0 || recv(fd, request, sizeof(request), 0) <= 0)
		abort();
	for (size_t i = 0; i < stranger->repeat; i++) {
		if (!raw_send(fd, stranger->answer, strlen(stranger->answer)))
			break;
	}
	close(fd);
	return NULL;
}

static int ask_stranger(const char *answer, size_t repeat)
{
	char dir[] = "/tmp/keel-test-XXXXXX", path[64];
	struct stranger stranger = { .answer = answer, .repeat = repeat };
	struct rpc_client *client;
	pthread_t thread;
	json_t *result;
	int ret;

	assert_non_null(mkdtemp(dir));
	strcat(strcpy(path, dir), "/s");
	/* A socket of its own: unix_listen()'s does not block. */
	stranger.listen_fd = unix_listen(path, NULL);
	assert_true(stranger.listen_fd >= 0);
	assert_int_equal(rpc_client_connect(&client, path, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, be_strange, &stranger), 0);
	ret = rpc_client_call(client, "held", NULL, 0, &result, NULL);
	json_decref(result);
	rpc_client_close(client);
	pthread_join(thread, NULL);
	close(stranger.listen_fd);
	unlink(path);
	rmdir(dir);
	return ret;
}

static void test_strange_servers(void **state KEEL_UNUSED)
{
	assert_int_equal(ask_stranger("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":5}\n", 1), 0);
	assert_int_equal(ask_stranger("", 0), -EPIPE);
	assert_int_equal(ask_stranger("{\"jsonrpc\":\"2.0\",\"id\":1", 1), -EPIPE);
	assert_int_equal(ask_stranger("rubbish\n", 1000), -EPIPE);
	assert_int_equal(ask_stranger("{\"id\":99,\"result\":1}\n", 1000), -EPIPE);
	assert_int_equal(ask_stranger("{\"id\":1}\n", 1), -EPROTO);
	assert_true(ask_stranger("{\"id\":1,\"error\":5}\n", 1) < 0);
	assert_true(ask_stranger("{\"id\":1,\"error\":{\"data\":{\"errno\":\"EWHAT\"}}}\n", 1) < 0);
	/* A line without end is not kept. */
	assert_int_equal(ask_stranger("xxxxxxxxxxxxxxxx", 1 << 20), -EMSGSIZE);
	/* Nor are events without end, while an answer is waited for. */
	assert_int_equal(ask_stranger("{\"method\":\"event\",\"params\":{\"a\":1}}\n", 100000),
			 -EPIPE);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_SERVER(test_call),         WITH_SERVER(test_errors),
		WITH_SERVER(test_late_answer),  WITH_SERVER(test_events),
		WITH_SERVER(test_nobody_there), cmocka_unit_test(test_strange_servers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
