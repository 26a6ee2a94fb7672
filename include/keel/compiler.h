/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Attributes, small macros, and BUG_ON. No function here allocates or fails.
 */
#ifndef KEEL_COMPILER_H
#define KEEL_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEEL_NODISCARD         __attribute__((warn_unused_result))
#define KEEL_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define KEEL_UNUSED            __attribute__((unused))

/* Built with a sanitizer, whose runtime makes system calls and handles signals of its own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KEEL_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define KEEL_SANITIZED true
#endif
#endif
#ifndef KEEL_SANITIZED
#define KEEL_SANITIZED false
#endif

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* From a pointer to a member back to the object that embeds it. */
#define container_of(ptr, type, member)                                                            \
	((type *)(void *)((char *)(uintptr_t)(ptr)-offsetof(type, member)))

#define ALIGN_UP(x, a)   (((x) + ((a)-1)) & ~((__typeof__(x))(a)-1))
#define ALIGN_DOWN(x, a) ((x) & ~((__typeof__(x))(a)-1))

/*
 * A condition that only a bug in Keel can make true; never guest, peer, client or file input.
 * Always compiled in. Prints the place and aborts (the kernel then closes the VM).
 */
#define BUG_ON(cond)                                                                               \
	do {                                                                                       \
		if (__builtin_expect(!!(cond), 0))                                                 \
			keel_bug(__FILE__, __LINE__, #cond);                                       \
	} while (0)
__attribute__((noreturn, cold)) void keel_bug(const char *file, int line, const char *what);

/* Between two looks at something that another CPU changes. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#else
	__asm__ volatile("" ::: "memory");
#endif
}

#endif
