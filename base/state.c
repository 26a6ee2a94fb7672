// SPDX-License-Identifier: GPL-2.0-only
#include "keel/state.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "keel/le.h"

#define HEADER_LEN 12 /* id, version, 0, payload length */
#define CRC_LEN    4

void state_buf_free(struct state_buf *buf)
{
	free(buf->data);
	*buf = (struct state_buf){ 0 };
}

static int reserve(struct state_buf *buf, size_t more, struct err *err)
{
	size_t need, cap = buf->cap ? buf->cap : 256;
	uint8_t *data;

	if (__builtin_add_overflow(buf->len, more, &need) || need > SIZE_MAX / 4)
		return err_set(err, EOVERFLOW, "state grows beyond what can be addressed");
	if (need <= buf->cap)
		return 0;
	while (cap < need)
		cap *= 2;
	data = realloc(buf->data, cap);
	if (!data)
		return err_set(err, ENOMEM, "no memory for %zu bytes of state", need);
	buf->data = data;
	buf->cap = cap;
	return 0;
}

int state_put_bytes(struct state_buf *buf, const void *data, size_t len, struct err *err)
{
	int r = reserve(buf, len, err);

	if (r < 0)
		return r;
	if (len)
		memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	return 0;
}

static size_t field_bytes(const struct state_field *field)
{
	BUG_ON(field->size != 1 && field->size != 2 && field->size != 4 && field->size != 8);
	return (size_t)field->size * field->count;
}

static size_t payload_bytes(const struct state_desc *desc)
{
	size_t sum = 0;

	for (unsigned i = 0; i < desc->nr_fields; i++)
		sum += field_bytes(&desc->fields[i]);
	BUG_ON(sum > UINT32_MAX);
	return sum;
}

/* An element as the struct holds it, in host order. */
static uint64_t host_get(const void *p, unsigned size)
{
	uint16_t v16;
	uint32_t v32;
	uint64_t v64;

	switch (size) {
	case 1:
		return *(const uint8_t *)p;
	case 2:
		memcpy(&v16, p, sizeof(v16));
		return v16;
	case 4:
		memcpy(&v32, p, sizeof(v32));
		return v32;
	default:
		memcpy(&v64, p, sizeof(v64));
		return v64;
	}
}

static void host_put(void *p, unsigned size, uint64_t v)
{
	uint16_t v16 = (uint16_t)v;
	uint32_t v32 = (uint32_t)v;

	switch (size) {
	case 1:
		*(uint8_t *)p = (uint8_t)v;
		break;
	case 2:
		memcpy(p, &v16, sizeof(v16));
		break;
	case 4:
		memcpy(p, &v32, sizeof(v32));
		break;
	default:
		memcpy(p, &v, sizeof(v));
	}
}

int state_put(struct state_buf *buf, const struct state_desc *desc, const void *obj,
	      struct err *err)
{
	size_t payload = payload_bytes(desc);
	size_t start = buf->len;
	uint8_t *p;
	int r = reserve(buf, HEADER_LEN + payload + CRC_LEN, err);

	if (r < 0)
		return r;
	p = buf->data + start;
	put_le32(p, desc->id);
	put_le16(p + 4, desc->version);
	put_le16(p + 6, 0);
	put_le32(p + 8, (uint32_t)payload);
	p += HEADER_LEN;
	for (unsigned i = 0; i < desc->nr_fields; i++) {
		const struct state_field *field = &desc->fields[i];
		const uint8_t *from = (const uint8_t *)obj + field->offset;

		for (unsigned n = 0; n < field->count; n++) {
			put_le(p, field->size, host_get(from, field->size));
			p += field->size;
			from += field->size;
		}
	}
	put_le32(p, crc32c(0, buf->data + start, HEADER_LEN + payload));
	buf->len = start + HEADER_LEN + payload + CRC_LEN;
	return 0;
}

/* How many fields a payload of len bytes holds, or -1 when it ends inside one. */
static int fields_in(const struct state_desc *desc, size_t len)
{
	size_t sum = 0;
	unsigned i;

	for (i = 0; i < desc->nr_fields && sum < len; i++)
		sum += field_bytes(&desc->fields[i]);
	return sum == len ? (int)i : -1;
}

/* Everything that can be wrong with a record before a value is looked at; *nr_fields out. */
static int check_record(const struct state_view *view, const struct state_desc *desc,
			unsigned *nr_fields, struct err *err)
{
	const uint8_t *p = view->data;
	uint32_t payload, id;
	uint16_t version;
	int nr;

	if (view->len < HEADER_LEN + CRC_LEN)
		return err_set(err, EBADMSG, "%s state is cut off", desc->name);
	id = get_le32(p);
	version = get_le16(p + 4);
	payload = get_le32(p + 8);
	if (payload > view->len - HEADER_LEN - CRC_LEN)
		return err_set(err, EBADMSG, "%s state is cut off", desc->name);
	if (get_le32(p + HEADER_LEN + payload) != crc32c(0, p, HEADER_LEN + payload))
		return err_set(err, EBADMSG, "%s state is damaged (checksum)", desc->name);
	if (id != desc->id || get_le16(p + 6) != 0)
		return err_set(err, EBADMSG, "expected %s state (record %#x), found record %#x",
			       desc->name, desc->id, id);
	if (version != desc->version && (version == 0 || version + 1 != desc->version))
		return err_set(err, EBADMSG,
			       "%s state has version %u, this program reads %u and the one before",
			       desc->name, version, desc->version);
	nr = fields_in(desc, payload);
	if (nr < 0 || (version == desc->version && (unsigned)nr != desc->nr_fields))
		return err_set(err, EBADMSG, "%s state of version %u has %u bytes, not %zu",
			       desc->name, version, payload, payload_bytes(desc));
	*nr_fields = (unsigned)nr;
	return 0;
}

/* A bool that holds neither 0 nor 1 is undefined behaviour for whoever reads it. */
static int check_bools(const struct state_view *view, const struct state_desc *desc,
		       unsigned nr_fields, struct err *err)
{
	const uint8_t *p = view->data + HEADER_LEN;

	for (unsigned i = 0; i < nr_fields; i++) {
		size_t bytes = field_bytes(&desc->fields[i]);

		for (size_t n = 0; desc->fields[i].boolean && n < bytes; n++) {
			if (p[n] > 1)
				return err_set(err, EBADMSG, "%s state: %s is %u, neither 0 nor 1",
					       desc->name, desc->fields[i].name, p[n]);
		}
		p += bytes;
	}
	return 0;
}

int state_get(struct state_view *view, const struct state_desc *desc, void *obj, struct err *err)
{
	const uint8_t *p;
	unsigned nr_fields = 0;
	int r = check_record(view, desc, &nr_fields, err);

	if (r == 0)
		r = check_bools(view, desc, nr_fields, err);
	if (r < 0)
		return r;
	p = view->data + HEADER_LEN;
	for (unsigned i = 0; i < desc->nr_fields; i++) {
		const struct state_field *field = &desc->fields[i];
		uint8_t *to = (uint8_t *)obj + field->offset;

		if (i >= nr_fields) {
			memset(to, 0, field_bytes(field));
			continue;
		}
		for (unsigned n = 0; n < field->count; n++) {
			host_put(to, field->size, get_le(p, field->size));
			p += field->size;
			to += field->size;
		}
	}
	view->len -= (size_t)(p + CRC_LEN - view->data);
	view->data = p + CRC_LEN;
	return 0;
}
