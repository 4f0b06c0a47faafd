/* A guest that keeps what it is told in every place that C has for it, and
   rejects if a session before it has left something there. It searches all of
   its memory, the stack included, for what it writes. */
#define PAGE 65536u
#define MARK 0x5ec2e7a5c0ffee11ull

static unsigned long long number;
static unsigned char array[1 << 14];
static unsigned initialised = 7;

__attribute__((import_module("mta1"), import_name("get"))) int mta1_get(int field, void *buf, unsigned cap);
__attribute__((import_module("mta1"), import_name("list_get"))) int mta1_list_get(int list, int index, int field, void *buf, unsigned cap);

/* What a hook costs: the reverse-path and the first recipient are asked for. */
__attribute__((export_name("mta1_on_data"))) int mta1_on_data(void) {
	char text[256];
	if (mta1_get(0x0402, text, sizeof text) < 0) return 2;
	if (mta1_list_get(1, 0, 1, text, sizeof text) < 0) return 2;
	return 0; /* continue */
}

/* The mark is never whole in code or data. */
static unsigned long long mark(void) {
	volatile unsigned long long half = MARK ^ 0x1234567812345678ull;
	return half ^ 0x1234567812345678ull;
}

__attribute__((export_name("mta1_init"))) int mta1_init(void) { return 0; }

__attribute__((export_name("mta1_on_rcpt"))) int mta1_on_rcpt(void) {
	unsigned pages = (unsigned)__builtin_wasm_memory_size(0);
	unsigned long long wanted = mark();
	int found = number != 0 || initialised != 7;
	for (unsigned k = 0; k < sizeof array; k++) found |= array[k] != 0;
	for (volatile unsigned long long *p = (unsigned long long *)8; (unsigned)p < pages * PAGE; p++) found |= *p == wanted;
	if (found) return 2; /* reject */
	number = wanted;
	initialised = 8;
	for (unsigned k = 0; k < sizeof array; k++) array[k] = (unsigned char)(k | 1);
	int more = (int)__builtin_wasm_memory_grow(0, 2);
	if (more < 0) return 2;
	for (volatile unsigned long long *p = (unsigned long long *)(more * PAGE); (unsigned)p < (unsigned)(more + 2) * PAGE - 8; p++) {
		if (*p != 0) return 2;
		*p = wanted;
	}
	return 1; /* accept */
}
