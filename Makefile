# Short names for what ./run does; nothing here is needed to use Fluxsite.
.PHONY: run test check bench coverage lock

run:       ## set up and start the site
	./run

test:      ## the whole suite
	./run test

check:     ## style, types, architecture, migrations
	./run check

bench:     ## all benchmarks, one small round each
	for file in benchmarks/[a-z]*.py; do ./run bench "$$(basename "$$file" .py)" --quick || exit 1; done

coverage:  ## the whole suite with branch coverage; the report is htmlcov/index.html
	.venv/bin/python -m coverage run -m pytest
	.venv/bin/python -m coverage html
	.venv/bin/python -m coverage report

# Needs uv. requirements.txt comes first: the others are held to its versions.
LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header

lock:      ## pin the newest versions that requirements*.in allow
	$(LOCK) --upgrade requirements.in -o requirements.txt
	$(LOCK) --upgrade requirements-scale.in -o requirements-scale.txt
	$(LOCK) --upgrade requirements-sentry.in -o requirements-sentry.txt
	$(LOCK) --upgrade requirements-sso.in -o requirements-sso.txt
	$(LOCK) --upgrade requirements-dev.in -o requirements-dev.txt
