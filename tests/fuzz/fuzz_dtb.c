// SPDX-License-Identifier: GPL-2.0-only
/*
 * machine.dtb from another host. Refused with a message, or decoded to a machine whose own blob
 * decodes to the same machine.
 * libFuzzer: -max_len=8192
 */
#include <stdlib.h>
#include <string.h>

#include "keel/vmm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_round_trip(const struct machine_config *cfg)
{
	struct err err = ERR_INIT;
	struct machine_config again;
	json_t *one = config_to_json(cfg), *two;
	void *blob;
	size_t len;

	if (machine_dtb_encode(cfg, &blob, &len, &err))
		abort();
	if (machine_dtb_decode(blob, len, &again, &err))
		abort();
	two = config_to_json(&again);
	if (!json_equal(one, two))
		abort();
	json_decref(one);
	json_decref(two);
	config_free(&again);
	free(blob);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct err err = ERR_INIT;
	struct machine_config cfg;
	/* A copy on the heap: the sanitizer sees a read past the end, and libfdt wants alignment.
	 */
	uint8_t *blob = malloc(len ? len : 1);
	int ret;

	if (!blob)
		abort();
	memcpy(blob, data, len);
	ret = machine_dtb_decode(blob, len, &cfg, &err);
	if (ret > 0 || (ret < 0 && (err.code != -ret || !err.msg[0])))
		abort();
	if (ret == 0) {
		check_round_trip(&cfg);
		config_free(&cfg);
	}
	free(blob);
	return 0;
}
