/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The cases of "svm test".
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */
#ifndef CASES_H
#define CASES_H

/**
 * struct test_case: A rule about shared memory that programs rely on.
 * @name: one word
 * @title: the rule
 * @run: returns if the rule holds; check() and skip() exit the process else
 */
struct test_case {
	const char *name;
	const char *title;
	void (*run)(void);
};

/* Both arrays end with an entry without a name. */
extern const struct test_case memory_cases[];
extern const struct test_case busy_cases[];

/** cases_list: Print all names and titles. */
void cases_list(void);

/**
 * cases_run: Run the named cases, or all when @count is 0, each in a process
 * of its own, and print one line for each.
 *
 * Returns the number of failed cases.
 */
int cases_run(int count, char **names);

/** skip: End the case with the reason why it cannot run here. */
void __attribute__((noreturn, format(printf, 1, 2)))
skip(const char *format, ...);

/** fail: End the case: the rule is violated. */
void __attribute__((noreturn, format(printf, 1, 2)))
fail(const char *format, ...);

#define check(condition, ...)			\
	do {					\
		if (!(condition)) {		\
			fail(__VA_ARGS__);	\
		}				\
	} while (0)

#endif
