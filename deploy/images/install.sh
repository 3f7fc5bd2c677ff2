#!/bin/bash
# Install into /opt/sameway with the build stage's pip, and put what that brought, and nothing else, into /layer:
#
#   install.sh PIP-ARGUMENTS…
#
# A stage that goes on from another's /opt/sameway so ends with what it has added. Images copy one /layer after the other and
# share them; a copy of the whole folder would hold everything again.
set -euo pipefail

rm -rf /layer /tmp/before
mkdir /layer
touch /tmp/before
[ -e /opt/sameway ] || python3 -m venv --without-pip /opt/sameway
pip --python /opt/sameway/bin/python install --disable-pip-version-check --no-compile "$@"

# What packages are tested with and what compilers read is not needed to run them: a sixteenth of the server's environment, and
# a fifth of torch. Its other program is how processes share tensors.
packages=(/opt/sameway/lib/python3*/site-packages)
find "${packages[0]}" -cnewer /tmp/before -type d -name tests -prune -exec rm -rf {} +
if [ -e "${packages[0]}/torch/include" ]; then
    rm -rf "${packages[0]}/torch/include" "${packages[0]}/torch/test"
    find "${packages[0]}/torch/bin" -type f ! -name torch_shm_manager -delete
fi

# Bytecode is made here, since nobody may write it later. It is not compared with its source at every start: a layer does not
# change. A template that is no Python is left as it is, and not spoken of.
find /opt/sameway -cnewer /tmp/before -name '*.py' >/tmp/sources
python3 -m compileall -qq -j 0 --invalidation-mode unchecked-hash -i /tmp/sources || true

# NVIDIA's libraries, where they came as wheels, are found by the loader. The driver is the host's.
if compgen -G '/opt/sameway/lib/python3*/site-packages/nvidia/*/lib' >/etc/ld.so.conf.d/sameway.conf; then
    ldconfig
    mkdir -p /layer/etc/ld.so.conf.d
    cp /etc/ld.so.conf.d/sameway.conf /layer/etc/ld.so.conf.d/
    cp /etc/ld.so.cache /layer/etc/
else
    rm /etc/ld.so.conf.d/sameway.conf
fi

# By the time at which a file was last changed, which no wheel can set.
cd /
find opt/sameway -cnewer /tmp/before ! -type d -print0 | tar --create --null --files-from=- | tar --extract --directory /layer
