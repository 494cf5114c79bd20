#!/bin/sh -e
# The last step of the images' packages: the bill of materials. Then torch without what only compilers and its own tests need.
/audit/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
    --output-file /opt/tagger/sbom.cdx.json /opt/tagger/bin/python
cd /opt/tagger/lib/python3*/site-packages/torch 2> /dev/null || exit 0
rm -rf include share test
find bin -type f ! -name torch_shm_manager ! -name ptxas -delete
