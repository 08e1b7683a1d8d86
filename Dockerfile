# deploy/image/build.sh builds it, deploy/image/try.sh tries it; docs/deploying.md says how to run it.

FROM python:3.13-slim AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /app
# The lock file first: what it installs changes seldom.
COPY requirements.txt .
RUN /app/bin/pip install --require-hashes --requirement requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY config.example.yaml ./
COPY docs/runbooks docs/runbooks
COPY grafana/dashboards grafana/dashboards
COPY grafana/provisioning grafana/provisioning
COPY prometheus prometheus
COPY exporter exporter
# Packages that only the build needs are removed, pip too.
RUN /app/bin/pip install --no-deps --no-build-isolation --no-index . \
  && /app/bin/pip uninstall --yes hatchling editables packaging pathspec pluggy tomlkit trove-classifiers pip

FROM python:3.13-slim
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="removit-exporter" \
  org.opencontainers.image.description="Prometheus exporter for asynchronous jobs of the Removit image API" \
  org.opencontainers.image.licenses="Apache-2.0" \
  org.opencontainers.image.version="$VERSION" \
  org.opencontainers.image.revision="$REVISION"
COPY --from=build /app /app
COPY deploy/image/entrypoint.sh /app/bin/entrypoint
# A number, so that Kubernetes's runAsNonRoot can see that it is not root.
RUN mkdir /data && chown 10977:10977 /data
USER 10977:10977
WORKDIR /data
VOLUME /data
# Nothing but /data is written, so the root file system can be read-only.
ENV PATH="/app/bin:$PATH" PYTHONDONTWRITEBYTECODE=1
EXPOSE 10977
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s \
  CMD ["removit-exporter", "healthcheck", "--config.file=/etc/removit-exporter/config.yaml", "--web.listen-address=0.0.0.0:10977"]
ENTRYPOINT ["entrypoint"]
CMD ["run", "--config.file=/etc/removit-exporter/config.yaml", "--storage.path=/data/removit-exporter.db", "--web.listen-address=0.0.0.0:10977"]
