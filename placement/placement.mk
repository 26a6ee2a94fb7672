# SPDX-License-Identifier: GPL-2.0-only
placement-src :=
placement-src += placement/api.c
placement-src += placement/list.c
placement-src += placement/main.c
placement-src += placement/topology.c
