#!/bin/sh
# Bring the schema to the image's revision, make roles and a login for each, months ahead. A second run changes nothing but passwords.
set -eu
secrets=${SECRETS:-/run/secrets}
gpwarehouse upgrade
gpwarehouse roles apply
gpwarehouse roles login service_reader --role reader --password-file "$secrets"/reader_password
gpwarehouse roles login service_loader --role loader --password-file "$secrets"/loader_password
gpwarehouse roles login service_admin --role admin --password-file "$secrets"/admin_password
gpwarehouse roles login grafana --role reader --password-file "$secrets"/grafana_login_password
gpwarehouse partitions apply
