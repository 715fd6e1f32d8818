# Each target works on a fresh Debian 12 as root with git, make and a Rust toolchain; it installs
# the rest with apt, pip and cargo, the larger things into a cache outside this folder.

SIPWARD = target/release/sipward

.PHONY: run demo floods test bench genuine build check install-build-deps

# Guards the interface of the default route until Ctrl-C, which detaches.
run: build
	$(SIPWARD) run $(ARGS)

# A real scanner against a real Asterisk, without and with sipward, in private namespaces.
demo: build
	tools/install-test-deps packages scanners asterisk fail2ban kamailio
	cargo run --quiet --release -p sipward-testkit --bin sipward-demo -- $(SIPWARD)

# Four floods of 30 s without protection, with the guide's rules, with Fail2Ban and with sipward,
# and what honest phones make of each: about ten minutes.
floods: build
	tools/install-test-deps packages asterisk fail2ban
	cargo run --quiet --release -p sipward-testkit --bin sipward-floods -- $(SIPWARD)

test: install-build-deps
	tools/install-test-deps
	tools/run-tests

# The cost of a packet beside the guide's list, a million prefixes beside ipset and nftables, and the
# speed of a replay beside tshark and of one of a log beside fail2ban-regex, each in one run. Best on
# a machine with nothing to do.
bench: install-build-deps
	tools/install-test-deps packages fail2ban
	cargo bench --quiet -p sipward-shield --bench packet -- $(ARGS)
	cargo bench --quiet -p sipward-shield --bench prefixes -- $(ARGS)
	cargo bench --quiet -p sipward --bench import -- $(ARGS)
	cargo bench --quiet -p sipward --bench replay -- $(ARGS)
	cargo bench --quiet -p sipward --bench log -- $(ARGS)

# What sipward and the guide's rules would drop of the corpus of genuine messages.
genuine: install-build-deps
	tools/install-test-deps packages
	cargo test --quiet -p sipward --test genuine -- --nocapture

build: install-build-deps
	cargo build --release --locked -p sipward

# What a commit has to pass before its tests are worth running.
check: install-build-deps
	tools/run-tests check

install-build-deps:
	tools/install-build-deps
