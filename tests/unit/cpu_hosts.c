// SPDX-License-Identifier: GPL-2.0-only
#include "cpu_hosts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(struct cpuid *cpuid, uint32_t function, uint32_t index, bool indexed,
		const uint32_t regs[4])
{
	cpuid->entries[cpuid->nr++] = (struct kvm_cpuid_entry2){
		.function = function,
		.index = index,
		.flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
		.eax = regs[0],
		.ebx = regs[1],
		.ecx = regs[2],
		.edx = regs[3],
	};
}

void server_cpuid(struct cpuid *cpuid, bool amd)
{
	const uint32_t sign = amd ? 0x00a10f11 : 0x000606a6; /* 25/17/1 and 6/106/6 */
	const uint32_t v[3] = { amd ? 0x68747541 : 0x756e6547, amd ? 0x444d4163 : 0x6c65746e,
				amd ? 0x69746e65 : 0x49656e69 };

	memset(cpuid, 0, sizeof(*cpuid));
	add(cpuid, 0, 0, false, (uint32_t[]){ amd ? 0x10 : 0x1b, v[0], v[1], v[2] });
	/* VMX and MONITOR with the rest; HT as the host has it. */
	add(cpuid, 1, 0, false, (uint32_t[]){ sign, 0x05400800, 0x76d8322b, 0x1f8bfbff });
	if (!amd) {
		add(cpuid, 4, 0, true, (uint32_t[]){ 0xfc01c121, 0x02c0003f, 63, 0 });
		add(cpuid, 4, 3, true, (uint32_t[]){ 0xfc1fc163, 0x02c0003f, 0xcfff, 4 });
	}
	add(cpuid, 6, 0, false, (uint32_t[]){ 4, 0, 0, 0 });
	add(cpuid, 7, 0, true, (uint32_t[]){ 1, 0xf1bf07ab, 0x00405fce, 0xac000010 });
	add(cpuid, 7, 1, true, (uint32_t[]){ 0x30, 0, 0, 0 });
	if (!amd)
		add(cpuid, 0xa, 0, false, (uint32_t[]){ 0x08300402, 0, 0, 0x603 });
	add(cpuid, 0xb, 0, true, (uint32_t[]){ 1, 2, 0x100, 5 });
	/* AMD keeps AVX-512 and PKRU elsewhere than Intel. */
	add(cpuid, 0xd, 0, true, (uint32_t[]){ 0x2e7, 2696, amd ? 2440 : 2696, 0 });
	add(cpuid, 0xd, 1, true, (uint32_t[]){ 0xf, 2440, 0x1800, 0 });
	add(cpuid, 0xd, 2, true, (uint32_t[]){ 256, 576, 0, 0 });
	add(cpuid, 0xd, 5, true, (uint32_t[]){ 64, amd ? 832 : 1088, 0, 0 });
	add(cpuid, 0xd, 6, true, (uint32_t[]){ 512, amd ? 896 : 1152, 0, 0 });
	add(cpuid, 0xd, 7, true, (uint32_t[]){ 1024, amd ? 1408 : 1664, 0, 0 });
	add(cpuid, 0xd, 9, true, (uint32_t[]){ 8, amd ? 2432 : 2688, 0, 0 });
	add(cpuid, 0xd, 11, true, (uint32_t[]){ 16, 0, 1, 0 });
	add(cpuid, 0xd, 12, true, (uint32_t[]){ 24, 0, 1, 0 });
	add(cpuid, 0x40000000, 0, false, (uint32_t[]){ 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d });
	add(cpuid, 0x40000001, 0, false, (uint32_t[]){ 0x01007efb, 0, 0, 0 });
	add(cpuid, 0x80000000, 0, false,
	    (uint32_t[]){ amd ? 0x80000021 : 0x80000008, amd ? v[0] : 0, amd ? v[1] : 0,
			  amd ? v[2] : 0 });
	add(cpuid, 0x80000001, 0, false,
	    (uint32_t[]){ amd ? sign : 0, amd ? 0x40000000 : 0, amd ? 0x75c237ff : 0x121,
			  amd ? 0x2fd3fbff : 0x2c100800 });
	add(cpuid, 0x80000002, 0, false,
	    (uint32_t[]){ 0x74736554, 0x72657320, 0x00726576, 0x00000000 });
	add(cpuid, 0x80000006, 0, false, (uint32_t[]){ 0, 0, 0x01006040, 0 });
	add(cpuid, 0x80000007, 0, false, (uint32_t[]){ 0, 0, 0, 0x100 });
	add(cpuid, 0x80000008, 0, false,
	    (uint32_t[]){ amd ? 0x303430 : 0x3930, amd ? 0x191ef657 : 0x200, amd ? 0x7007 : 0, 0 });
	if (!amd)
		return;
	add(cpuid, 0x8000000a, 0, false, (uint32_t[]){ 1, 8, 0, 0x1bcff });
	add(cpuid, 0x8000001d, 0, true, (uint32_t[]){ 0x4121, 0x01c0003f, 63, 0 });
	add(cpuid, 0x8000001e, 0, false, (uint32_t[]){ 7, 0x103, 1, 0 });
	add(cpuid, 0x80000021, 0, false, (uint32_t[]){ 0x145, 0, 0, 0 });
}

void server_host(struct cpu_host *host, bool amd)
{
	struct cpuid cpuid;

	server_cpuid(&cpuid, amd);
	cpu_host_from(host, &cpuid, NULL, true);
	memcpy(host->native, host->given, sizeof(host->native));
}

void random_model(struct cpu_model *model, unsigned seed)
{
	struct cpu_host host;
	unsigned state = seed * 2654435761u + 1;

	server_host(&host, false);
	*model = host.model;
	snprintf(model->name, sizeof(model->name), "random%u", seed);
	for (unsigned w = 0; w < CPU_WORDS; w++) {
		/* Most flags stay, or nothing would be shared. */
		model->words[w] |= (uint32_t)rand_r(&state) * 7;
		model->words[w] &= (uint32_t)rand_r(&state) | (uint32_t)rand_r(&state);
		model->words[w] &= ~cpu_words[w].made;
	}
	for (unsigned i = 0; i < cpu_nr_needed; i++) {
		const struct cpu_flag *flag = cpu_flag_find(cpu_needed[i].flag);

		model->words[flag->word] |= 1u << flag->bit;
	}
	model->family = 6 + rand_r(&state) % 3;
	model->model = rand_r(&state) % 200;
	model->stepping = rand_r(&state) % 16;
	model->max_basic = 0xd + rand_r(&state) % 16;
	if (rand_r(&state) % 4 == 0)
		model->xsave[5].offset += 64;
	for (unsigned i = 0; i < model->nr_leaves; i++) {
		uint32_t *regs = model->leaves[i].regs;

		if (rand_r(&state) % 4 == 0)
			regs[0] ^= (uint32_t)rand_r(&state) & 0x0f0f;
		leaf_mask(model->leaves[i].function, model->leaves[i].index, regs);
	}
	cpu_model_close(model);
}
