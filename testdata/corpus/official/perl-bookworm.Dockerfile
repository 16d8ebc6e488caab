#
# made from a template, do not edit
#

FROM buildpack-deps:bookworm

# what is built here comes first
ENV PATH /usr/local/perl/bin:$PATH

# scripts expect a UTF-8 locale
ENV LANG C.UTF-8

RUN set -eux; \
	apt-get update; \
	apt-get install -y --no-install-recommends \
		ca-certificates \
		bzip2 \
		make \
		netbase \
	; \
	rm -rf /var/lib/apt/lists/*

ENV PERL_VERSION 5.40.1
ENV PERL_SHA256 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef

RUN set -eux; \
	\
	savedAptMark="$(apt-mark showmanual)"; \
	arch="$(dpkg --print-architecture)"; arch="${arch##*-}"; \
	url=; \
	case "$arch" in \
		'amd64') url='https://dl.example.org/perl/linux-amd64.tar.gz' ;; \
		'arm64') url='https://dl.example.org/perl/linux-arm64.tar.gz' ;; \
		*) echo >&2 "error: unsupported architecture: '$arch'"; exit 1 ;; \
	esac; \
	\
	wget -O perl.tar.gz "$url" --progress=dot:giga; \
	echo "$PERL_SHA256 *perl.tar.gz" | sha256sum --strict --check -; \
# https://example.org/issues/4 -- keep the archive's own owner out
	tar -C /usr/local -xzf perl.tar.gz --no-same-owner; \
	rm perl.tar.gz; \
	\
	apt-mark auto '.*' > /dev/null; \
	[ -z "$savedAptMark" ] || apt-mark manual $savedAptMark; \
	find /usr/local -type f -executable -not \( -name '*tkinter*' \) -exec ldd '{}' ';' \
		| awk '/=>/ { so = $(NF-1); if (index(so, "/usr/local/") == 1) { next }; print so }' \
		| sort -u \
		| xargs -r apt-mark manual \
	; \
	apt-get purge -y --auto-remove -o APT::AutoRemove::RecommendsImportant=false; \
	\
	perl --version

# short names for the tools
RUN set -eux; \
	for src in idle3 pip3 pydoc3; do \
		dst="$(echo "$src" | tr -d 3)"; \
		[ -s "/usr/local/bin/$src" ] || continue; \
		ln -svT "$src" "/usr/local/bin/$dst"; \
	done

CMD ["perl"]
