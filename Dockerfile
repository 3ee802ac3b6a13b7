# syntax=docker/dockerfile:1
# Two images from one source: `docker build .` makes the server's, `--target envoy` the REST edge's.

FROM python:3.12.13-slim-trixie AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/ailb
COPY .constraints.txt pyproject.toml README.md LICENSE ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint .constraints.txt hatchling
COPY ailb_server ailb_server
COPY ailb_client ailb_client
COPY proto/gen proto/gen
COPY envoy envoy
COPY migrations migrations
RUN python -m hatchling build -t wheel -d /dist
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/ailb/bin/python install --constraint .constraints.txt \
    "$(echo /dist/*.whl)[embed,otel]"
# Where Envoy will find the server; a name is looked up again and again, so that it may be several.
ARG AILB_UPSTREAM=ailb:50051
RUN HOST=0.0.0.0 HTTP_PORT=8080 \
    /opt/ailb/bin/ailb envoy-config /edge --upstream "${AILB_UPSTREAM}" --mounted-as /etc/envoy

FROM envoyproxy/envoy:v1.40.0 AS envoy
COPY --from=build --chmod=0644 /edge/envoy.yaml /edge/ailb.binpb /edge/rest_errors.lua /etc/envoy/
# The image's user `envoy`.
USER 101:101
EXPOSE 8080
# No status in the answer: the port speaks TLS, which this cannot. Then Envoy itself is asked.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --start-interval=1s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && { read -r _ status _ <&3; [ \"$status\" = 200 ] || { [ -z \"$status\" ] && exec 3<>/dev/tcp/127.0.0.1/9901 && printf 'GET /ready HTTP/1.1\\r\\nHost: envoy\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]; }; }"]
CMD ["envoy", "--config-path", "/etc/envoy/envoy.yaml", "--concurrency", "2", "--log-level", "warning"]

# The base image brings the CA certificates.
FROM python:3.12.13-slim-trixie AS ailb
LABEL org.opencontainers.image.title="AILB" \
      org.opencontainers.image.description="An LLM gateway on gRPC, Envoy and Postgres" \
      org.opencontainers.image.licenses="AGPL-3.0-or-later"
# Where the embedding model is kept once it is fetched, and where usage waits for Postgres: mount a
# volume each, to fetch the one once only and to lose nothing of the other with a container.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin ailb \
    && install --directory --owner=ailb --group=ailb /var/lib/ailb/models /var/lib/ailb/usage
COPY --from=build /opt/ailb /opt/ailb
ENV PATH=/opt/ailb/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/var/lib/ailb/models \
    USAGE_JOURNAL_DIR=/var/lib/ailb/usage \
    HOST=0.0.0.0
# A `.env` or a YAML file may be mounted here.
WORKDIR /etc/ailb
USER 10001:10001
EXPOSE 50051
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["ailb", "health"]
ENTRYPOINT ["ailb"]
CMD ["serve"]
