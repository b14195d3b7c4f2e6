#!/bin/sh
echo "${database} db.internal" >>/etc/hosts
