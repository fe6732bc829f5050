// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Run the cases of "svm test", and print their results.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cases.h"

/* Time limit for each case. */
#define CASE_SECONDS	120

enum { STATUS_FAILED = 1, STATUS_SKIPPED = 77 };

static const struct test_case *const groups[] = { memory_cases, busy_cases };

#define FOR_EACH_CASE(group, test)					\
	for (size_t group = 0; group < sizeof(groups) / sizeof(*groups);\
	     group++)							\
		for (const struct test_case *test = groups[group];	\
		     test->name; test++)

/* Pipe that passes the reason to the parent. */
static int reason_fd;

static void __attribute__((noreturn, format(printf, 2, 0)))
end(int status, const char *format, va_list arguments)
{
	vdprintf(reason_fd, format, arguments);
	_exit(status);
}

void skip(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	end(STATUS_SKIPPED, format, arguments);
}

void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	end(STATUS_FAILED, format, arguments);
}

void cases_list(void)
{
	FOR_EACH_CASE(group, test) {
		printf("  %-14s %s\n", test->name, test->title);
	}
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* Interrupts report faults: let every processor take its pending ones. */
static void take_interrupts(void)
{
	cpu_set_t all, one;

	if (sched_getaffinity(0, sizeof(all), &all)) {
		return;
	}
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &all)) {
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			sched_setaffinity(0, sizeof(one), &one);
		}
	}
	sched_setaffinity(0, sizeof(all), &all);
}

/* Mark begin and end of each case in the kernel log. */
static void mark_kernel_log(const char *what, const struct test_case *test)
{
	int log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	if (log >= 0) {
		/* Level 4: the same as that of the messages in between */
		dprintf(log, "<4>svm: %s %s\n", what, test->name);
		close(log);
	}
}

static void in_child(const struct test_case *test, int pipe)
{
	reason_fd = pipe;
	/* A process group, so that all children can be killed. */
	setpgid(0, 0);
	alarm(CASE_SECONDS);
	test->run();
	_exit(0);
}

/* Returns whether the case failed. */
static bool run_one(const struct test_case *test)
{
	char reason[512] = "";
	int pipes[2], status;
	double begin = now();
	ssize_t length;
	pid_t child;

	fflush(stdout);
	mark_kernel_log("begin", test);
	if (pipe(pipes) || (child = fork()) < 0) {
		perror("svm");
		exit(2);
	}
	if (!child) {
		close(pipes[0]);
		in_child(test, pipes[1]);
	}
	close(pipes[1]);
	waitpid(child, &status, 0);
	kill(-child, SIGKILL);
	take_interrupts();
	mark_kernel_log("end", test);
	length = read(pipes[0], reason, sizeof(reason) - 1);
	reason[length > 0 ? length : 0] = 0;
	close(pipes[0]);

	if (WIFEXITED(status) && WEXITSTATUS(status) == STATUS_SKIPPED) {
		printf("skipped %s: %s\n", test->name, reason);
		return false;
	}
	if (WIFSIGNALED(status)) {
		snprintf(reason, sizeof(reason),
			 WTERMSIG(status) == SIGALRM ? "hangs" : "%s",
			 strsignal(WTERMSIG(status)));
	}
	if (status) {
		printf("not ok %s: %s: %s\n", test->name, test->title, reason);
		return true;
	}
	printf("ok %s: %s (%.0f ms)\n", test->name, test->title,
	       (now() - begin) * 1000);
	return false;
}

static bool wanted(const struct test_case *test, int count, char **names)
{
	for (int i = 0; i < count; i++) {
		if (!strcmp(test->name, names[i])) {
			return true;
		}
	}
	return !count;
}

static void check_names(int count, char **names)
{
	for (int i = 0; i < count; i++) {
		bool known = false;

		FOR_EACH_CASE(group, test) {
			known |= !strcmp(test->name, names[i]);
		}
		if (!known) {
			fprintf(stderr, "svm: there is no case \"%s\"; "
				"\"svm list\" names them\n", names[i]);
			exit(2);
		}
	}
}

int cases_run(int count, char **names)
{
	int failed = 0, ran = 0;

	check_names(count, names);
	FOR_EACH_CASE(group, test) {
		if (wanted(test, count, names)) {
			failed += run_one(test);
			ran++;
		}
	}
	printf("%d of %d cases failed\n", failed, ran);
	return failed;
}
