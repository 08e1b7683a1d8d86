# docker build --tag removit-exporter .
# docker run --publish 10977:10977 --volume "$PWD/config:/etc/removit-exporter:ro" \
#   --volume removit-exporter:/data removit-exporter
# In config/: config.yaml and the API key's file. The token for registering is created in the volume:
# /data/removit-exporter.db.token.

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
# What only the build needs goes, pip too.
RUN /app/bin/pip install --no-deps --no-build-isolation --no-index . \
  && /app/bin/pip uninstall --yes hatchling editables packaging pathspec pluggy tomlkit trove-classifiers pip

FROM python:3.13-slim
COPY --from=build /app /app
# A number, so that Kubernetes's runAsNonRoot can see that it is not root.
RUN mkdir /data && chown 10977:10977 /data
USER 10977:10977
WORKDIR /data
VOLUME /data
ENV PATH="/app/bin:$PATH"
EXPOSE 10977
HEALTHCHECK --interval=15s --timeout=5s --start-period=10s \
  CMD ["removit-exporter", "healthcheck", "--config.file=/etc/removit-exporter/config.yaml", "--web.listen-address=:10977"]
ENTRYPOINT ["removit-exporter"]
CMD ["run", "--config.file=/etc/removit-exporter/config.yaml", "--storage.path=/data/removit-exporter.db", "--web.listen-address=:10977"]
