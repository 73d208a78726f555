# SeqTrack in a container, from the package index alone.
#   docker build --target cpu -t seqtrack .
#   docker build --target cuda -t seqtrack:cuda .       the host needs NVIDIA's driver and container toolkit
# The wheels of torch for Linux hold the GPU's libraries, so both are large; `cpu` does not use them.
FROM python:3.12-slim AS cpu
WORKDIR /seqtrack
COPY pyproject.toml setup.py MANIFEST.in constraints.txt README.md LICENSE ./
COPY lib lib
COPY seqtrack seqtrack
COPY experiments experiments
COPY tracking tracking
COPY scripts scripts
COPY checkpoints checkpoints
RUN pip install -e . -c constraints.txt
# The image has no libGL.
RUN pip uninstall --yes opencv-python
RUN pip install opencv-python-headless -c constraints.txt
RUN pip install --no-deps -e .
# Data sets, results and fetched weights lie in the folder that is mounted, not in the container.
ENV SEQTRACK_DATA=/data SEQTRACK_SAVE=/data
WORKDIR /data
ENTRYPOINT ["seqtrack"]
CMD ["--help"]

FROM cpu AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
