#!/bin/bash
# Runs in InfluxDB's container when it is made: the 1.x route knows the bucket by the
# name that stands in series.url.
set -e

influx v1 dbrp create --db mimamori --rp autogen --default \
    --bucket-id "$DOCKER_INFLUXDB_INIT_BUCKET_ID" --org "$DOCKER_INFLUXDB_INIT_ORG"
